#!/usr/bin/env bash
# Does adapting pay where a corpus lacks isotropy? The base on the articles of each topic, adapted and not, beside other maps.
# Run on a commit whose `dvc repro` is done; about 10 minutes on 2 cores. The tables land in experiments/adapt.md, the figure
# in docs/adapt.png. Afterwards `git checkout . && dvc checkout` brings the default's outputs back.
set -euo pipefail
cd "$(dirname "$0")/.."

topics=vital-arts,vital-biology,vital-everyday-life,vital-geography,vital-history,vital-mathematics,vital-people
topics+=,vital-philosophy,vital-physics,vital-society,vital-technology,vital-uncategorized
dvc exp run -S "data.benchmarks=[$topics]" -S "evaluate.models=[base]" -S "evaluate.controls=[]"
python -m estimate.adapt experiments/adapt.md docs/adapt.png
