_xtask_jobs() {
    local root=$PWD
    while [[ -n $root && ! -d $root/jobs ]]; do
        root=${root%/*}
    done
    local -a dockerfiles=("$root"/jobs/*/Dockerfile(N))
    compadd -- ${${dockerfiles:h}:t}
}

# cargo's own completion asks a function of this name about `cargo xtask …`.
_cargo-xtask() {
    _xtask "$@"
}
