_xtask_jobs() {
    local root=$PWD
    while [[ -n $root && ! -d $root/jobs && ! -f $root/.cargo/config.toml ]]; do
        root=${root%/*}
    done
    # `jobs-dirs` as Cargo.toml has it on a line. What a pattern matches may be a job itself.
    local line=$(sed -n 's/^jobs-dirs *= *\[\([^]]*\)\].*/\1/p' "$root/Cargo.toml" 2>/dev/null) dir
    local -a dirs=(${=line//[\",]/ }) names
    for dir in ${dirs:-jobs}; do
        names+=("$root"/${~dir}/*/Dockerfile(N:h:t) "$root"/${~dir}/Dockerfile(N:h:t))
    done
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
