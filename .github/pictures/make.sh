#!/bin/sh
# Makes README's pictures from a real run: pipeline.svg and timings.png. Run it in a clone, in a terminal; it needs
# termtosvg (pip install termtosvg 'setuptools<81') and chromium-headless-shell, as the tests do.
set -eu
pictures=$(cd "$(dirname "$0")" && pwd)
cd "$pictures/../.."
cargo build --package xtask
# Every job is built, as if for the first time.
demo=$(mktemp)
trap 'rm -f "$demo"' EXIT
cat > "$demo" <<'DEMO'
#!/bin/sh
printf '$ cargo xtask pipeline --timings\n'
exec target/debug/xtask pipeline --force --timings --tag demo --color always
DEMO
chmod +x "$demo"
# A step that takes long is shown for a second and a half.
termtosvg "$pictures/pipeline.svg" --command "$demo" --screen-geometry 88x36 --template window_frame \
    --min-frame-duration 400 --max-frame-duration 1500 --loop-delay 4000
# The theme's bright green is all but black.
sed -i 's/color10 {fill: #383830}/color10 {fill: #a6e22e}/' "$pictures/pipeline.svg"
chromium-headless-shell --no-sandbox --window-size=1000,560 --screenshot="$pictures/timings.png" \
    "file://$PWD/target/xtask/timings.html"
