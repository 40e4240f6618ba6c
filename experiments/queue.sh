# For the scripts of this folder. `queue GROUP NAME key=value... -- STAGE...` queues one experiment on the last commit,
# named GROUP-NAME, up to the stages given; `run_queue` runs what is queued, one after the other, each in a copy of its
# own: the working tree stays as it is. It fails unless every one of them ended well.

git diff --quiet HEAD || { echo "error: commit your changes first: the table's row 'defaults' is that of the last commit" >&2; exit 1; }

queued=()

queue() {
    local name="$1-$2" settings=()
    shift 2
    while (($#)) && [[ $1 != -- ]]; do
        settings+=(--set-param "$1")
        shift
    done
    dvc exp remove --quiet "$name" 2>/dev/null || true
    dvc exp run --queue --name "$name" "${settings[@]}" "${@:2}"
    queued+=("$name")
}

run_queue() {
    # Of the jobs beside each other that dvc offers, some fail without a word.
    dvc exp run --run-all --jobs 1
    local name ended
    ended=$(dvc exp list --name-only)
    for name in "${queued[@]}"; do
        grep --quiet --line-regexp "$name" <<< "$ended" ||
            { echo "error: $name did not end well: see \`dvc queue logs $name\`" >&2; exit 1; }
    done
}
