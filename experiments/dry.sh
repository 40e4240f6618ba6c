# For `--dry`, in the place of queue.sh: nothing is queued or run. `queue` notes an experiment; `run_queue` prints the stages
# that each would run, and what they would take. BANDWIDTH: of the network, in Mbit/s, 100 unless told.

planned=()

queue() {
    planned+=(--experiment "$1-$2" "${@:3}")
}

run_queue() {
    python -m estimate.dry --bandwidth "${BANDWIDTH:-100}" "${planned[@]}"
    exit
}
