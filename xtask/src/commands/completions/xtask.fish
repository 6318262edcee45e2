function __xtask_jobs
    set -l root $PWD
    while test -n "$root"; and not test -d "$root/jobs" -o -f "$root/.cargo/config.toml"
        set root (string replace -r '/[^/]*$' '' -- "$root")
    end
    # `jobs-dirs` as Cargo.toml has it on a line. What a pattern matches may be a job itself.
    set -l line (sed -n 's/^jobs-dirs *= *\[\([^]]*\)\].*/\1/p' "$root/Cargo.toml" 2>/dev/null)
    set -l dirs (string match -ra '[^", ]+' -- "$line")
    test -n "$dirs"; or set dirs jobs
    # fish itself expands no pattern that is in a variable.
    set -l list 'IFS=; for pattern; do printf "%s\n" $pattern; done'
    # A name that no job can have is left out: it may hold anything.
    for dockerfile in (sh -c $list sh $root/$dirs/\*/Dockerfile $root/$dirs/Dockerfile)
        test -f $dockerfile; and string replace -r '.*/([^/]*)/Dockerfile$' '$1' -- $dockerfile | string match -r '^[a-z][a-z0-9._-]*$'
    end
end

for command in (string split '|' -- '@COMMANDS@')
    complete -c xtask -n "__fish_xtask_using_subcommand $command" -f -a '(__xtask_jobs)'
end

# What follows `cargo xtask` is completed as if it followed `xtask`.
function __xtask_after_cargo
    set -l words (commandline -opc)
    set -l at (contains -i -- xtask $words)
    complete -C (string join -- ' ' (string escape -- $words[$at..-1]) (commandline -ct | string escape))
end

complete -c cargo -n '__fish_seen_subcommand_from xtask' -f -a '(__xtask_after_cargo)'
