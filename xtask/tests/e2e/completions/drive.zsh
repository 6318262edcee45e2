# Completes lines in an interactive zsh, and prints what is offered: drive.zsh COMPLETIONS BEFORE LINE…
zmodload zsh/zpty
typeset -x COMPLETIONS=$1 BEFORE=$2 LINES_FILE=$1.lines OUT=$1.out
print -rl -- "${@:3}" >$LINES_FILE
zpty shell zsh -f -i
zpty -w shell 'autoload -Uz compinit; compinit -u -D; eval "$BEFORE"; source $COMPLETIONS
compadd() { local -a found; builtin compadd -A found "$@"; offered+=($found); builtin compadd "$@" }
complete-all() {
    for line in "${(@f)$(<$LINES_FILE)}"; do
        offered=() BUFFER=$line CURSOR=$#line
        zle list-choices
        print -r -- "$line: ${(j: :)${(@ou)offered}}" >>$OUT
    done
    BUFFER=exit; zle accept-line
}
zle -N complete-all; bindkey "^T" complete-all'
zpty -w -n shell $'\x14'
while zpty -r shell shown; do :; done
cat $OUT
