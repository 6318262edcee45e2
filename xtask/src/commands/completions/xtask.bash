# The generated completion, and the names of jobs where a command takes them.
_xtask_and_jobs() {
    _xtask "$@"
    local typed="" word takes_jobs='^ (@COMMANDS@)( |$)'
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] || typed+=" $word"
    done
    # Neither an option nor the value of one is a job.
    if [[ $2 == -* || $3 == "=" || " @OPTIONS@ " == *" $3 "* || ! $typed =~ $takes_jobs ]]; then
        return
    fi
    local root=$PWD dirs dir folder IFS=$' \t\n'
    while [[ -n $root && ! -d $root/jobs && ! -f $root/.cargo/config.toml ]]; do
        root=${root%/*}
    done
    # `jobs-dirs` as Cargo.toml has it on a line. What a pattern matches may be a job itself.
    dirs=$(sed -n 's/^jobs-dirs *= *\[\([^]]*\)\].*/\1/p' "$root/Cargo.toml" 2>/dev/null)
    read -ra dirs <<<"${dirs//[\",]/ }"
    for dir in "${dirs[@]:-jobs}"; do
        for folder in "$root"/$dir/*/ "$root"/$dir/; do
            folder=${folder%/}
            # A name that no job can have is left out: it may hold anything.
            if [[ -f $folder/Dockerfile && ${folder##*/} == "$2"* && ${folder##*/} =~ ^[a-z][a-z0-9._-]*$ ]]; then
                COMPREPLY+=("${folder##*/}")
            fi
        done
    done
}

# Finds the function that completes cargo, and puts ours in its place.
_xtask_take_over_cargo() {
    local spec
    spec=$(complete -p cargo 2>/dev/null) || spec="complete -o bashdefault -o default -F _xtask_no_completion cargo"
    # What is no function is left alone.
    if [[ $spec =~ ^(complete .*-F )([^ ]+)( cargo)$ && ${BASH_REMATCH[2]} != _xtask_or_cargo ]]; then
        _xtask_cargo_completion=${BASH_REMATCH[2]}
        eval "${BASH_REMATCH[1]}_xtask_or_cargo${BASH_REMATCH[3]}"
    fi
}

_xtask_no_completion() {
    COMPREPLY=()
}

# `cargo xtask …` is completed like `xtask …`, and every other subcommand as it was before.
_xtask_or_cargo() {
    local i=1 load
    while [[ ${COMP_WORDS[i]} == [-+]* ]]; do
        i=$((i + 1))
    done
    if [[ ${COMP_WORDS[i]} == xtask && $i -lt $COMP_CWORD ]]; then
        COMP_WORDS=("${COMP_WORDS[@]:i}")
        COMP_CWORD=$((COMP_CWORD - i))
        _xtask_and_jobs xtask "$2" "$3"
        return
    fi
    if [[ $_xtask_cargo_completion == _xtask_no_completion ]]; then
        # bash-completion loads a command's completion when it is first asked for, which now is here.
        for load in _comp_load __load_completion; do
            if declare -F "$load" >/dev/null && { complete -r cargo 2>/dev/null; "$load" cargo; }; then
                break
            fi
        done
        _xtask_take_over_cargo
    fi
    "$_xtask_cargo_completion" "$@"
}

complete -F _xtask_and_jobs -o bashdefault -o default xtask
_xtask_take_over_cargo
