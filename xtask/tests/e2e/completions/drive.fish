# Prints what fish offers for lines: drive.fish COMPLETIONS LINE…
source $argv[1]
for line in $argv[2..-1]
    set -l offered (complete -C $line | string replace -r '\t.*' '' | sort)
    echo "$line: $offered"
end
