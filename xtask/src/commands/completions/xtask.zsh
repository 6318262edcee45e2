_xtask_jobs() {
    local root=$PWD
    while [[ -n $root && ! -d $root/jobs ]]; do
        root=${root%/*}
    done
    local -a names=("$root"/jobs/*/Dockerfile(N:h:t))
    # A name that no job can have is left out: it may hold anything.
    compadd -- ${(M)names:#[a-z][a-z0-9._-]#}
}

# `cargo xtask …` is completed like `xtask …`, and every other subcommand as it was before.
_xtask_or_cargo() {
    local at=2
    while [[ ${words[at]} == [-+]* ]]; do
        ((at++))
    done
    if [[ ${words[at]} == xtask && $at -lt $CURRENT ]]; then
        shift $((at - 1)) words
        ((CURRENT -= at - 1))
        _xtask
    else
        $_xtask_cargo_completion
    fi
}

if [[ ${_comps[cargo]} != _xtask_or_cargo ]]; then
    _xtask_cargo_completion=${_comps[cargo]:-_default}
    compdef _xtask_or_cargo cargo
fi
