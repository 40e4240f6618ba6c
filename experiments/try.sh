# For the scripts of this folder: `try GROUP NAME key=value...` runs one experiment, named GROUP-NAME, and goes back to
# the committed state. So there must be nothing uncommitted to lose.

git diff --quiet HEAD || { echo "error: commit your changes first: each experiment ends with git checkout" >&2; exit 1; }

try() {
    local name="$1-$2"
    shift 2
    dvc exp remove --quiet "$name" 2>/dev/null || true
    dvc exp run --name "$name" "${@/#/--set-param=}"
    git checkout --quiet -- . && git clean --quiet -fd metrics && dvc checkout --quiet --force
}
