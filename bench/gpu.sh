#!/usr/bin/env bash
# Measures gauntlet on a machine with an NVIDIA GPU and PyTorch 2.11; it needs neither Rust nor a network.
# Numbers come first (golden files, the smoke suite against the CPU), then speed (a training step, the
# pool, the start; beside open_clip where it is installed). Takes some 4 minutes, half of it
# torch.compile. A part that fails does not stop the others.
#
#     bench/gpu.sh [--device cuda] [--gauntlet target/release/gauntlet] [--model RN50] [OUT]
#
# OUT (default out/gpu) gets NAME.json (of a suite its table, NAME.txt) and NAME.log of every part, and
# summary.json. The exit code is 0 only if every part passed. $GAUNTLET may name the binary, and $PYTHON
# the Python whose PyTorch is used. `--device cpu` runs the same in small and slowly, to test the script.
set -uo pipefail

device=cuda gauntlet=${GAUNTLET:-target/release/gauntlet} model='' out=out/gpu
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2; shift 2 ;;
    --gauntlet) gauntlet=$2; shift 2 ;;
    --model) model=$2; shift 2 ;;
    -*) echo "gpu.sh: no option named $1 (there are: --device, --gauntlet, --model)" >&2; exit 2 ;;
    *) out=$1; shift ;;
  esac
done
gauntlet=$(realpath "$gauntlet") || exit 2
mkdir -p "$out" && out=$(realpath "$out") || exit 2
cd "$(dirname "$0")/.." || exit 2
rm -rf "$out"/smoke-{cpu,device,bf16} "$out"/*.json "$out"/*.log "$out"/*.txt   # of an earlier run, perhaps on another device
python=${PYTHON:-python3}

if [ "$device" = cpu ]; then
  threads=2 model=${model:-small} step=(--batch 8 --steps 2 --warmup 1) pool=(--size 2000 --repeat 2)
  small=(--batch 8 --steps 2 --warmup 1) tiny=(--batch 8 --steps 2 --warmup 1)
  smoke=(--only clean/clip --set recipe.epochs=6) allowed=2400 patience=4 peers=(--batch 4 --steps 2 --warmup 1 --no-compile --precision fp32)
else
  threads=8 model=${model:-RN50} step=(--batch 512 --steps 20 --warmup 5) pool=(--size 20000 --size 200000 --size 1000000 --repeat 20)
  small=(--batch 512 --steps 40) tiny=(--batch 128 --steps 100)
  smoke=(--jobs 12) allowed=570 patience=1 peers=()
fi

# The installed PyTorch's libtorch, and the NVIDIA packages beside it. LD_LIBRARY_PATH takes precedence
# over the binary's own path.
torch=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])') || exit 2
export LD_LIBRARY_PATH=$torch/lib:$(printf '%s:' "$torch"/../nvidia/*/lib)${LD_LIBRARY_PATH:-}
export OMP_WAIT_POLICY=passive

started=$SECONDS failed=0 parts=()

# part NAME SECONDS COMMAND...: runs it with a time limit; standard output to NAME.json, standard error
# to NAME.log.
part() {
  local name=$1 kind=json limit=$(($2 * patience)) left=$((allowed - (SECONDS - started))) code=1 begun=$SECONDS passed=false
  shift 2
  [[ $name == smoke-* ]] && kind=txt   # a text table
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -gt 0 ]; then
    timeout -k 5 "$limit" "$@" >"$out/$name.$kind" 2>"$out/$name.log"
    code=$?
  else
    echo "no time was left" >"$out/$name.log"
  fi
  [ "$code" = 0 ] && passed=true || failed=1
  parts+=("{\"part\": \"$name\", \"passed\": $passed, \"code\": $code, \"seconds\": $((SECONDS - begun))}")
  printf '%-16s %-6s %4d s\n' "$name" "$([ "$code" = 0 ] && echo ok || echo "FAILED")" $((SECONDS - begun))
  tail -n 12 "$out/$name.log" | sed 's/^/    /'
}

machine() {
  uname -a; nproc; ldd --version 2>&1 | head -n 1; ldd "$gauntlet"
  echo "torch: $torch"; cat "$torch/version.py"; echo "LD_LIBRARY_PATH=$LD_LIBRARY_PATH"
  [ "$device" = cpu ] || nvidia-smi
}
machine >"$out/machine.log" 2>&1
grep -E 'not found|NVIDIA|libtorch|CUDA Version' "$out/machine.log" | sed 's/^/    /'

bench=("$gauntlet" bench --device "$device" --threads "$threads")
run=("$gauntlet" run suites/smoke.toml "${smoke[@]}")

part doctor 60 "$gauntlet" doctor --json
part numerics 90 "${bench[@]}" numerics
part numerics-kernels 90 "${bench[@]}" --kernels numerics
part step-bf16 120 "${bench[@]}" step --model "$model" --precision bf16 "${step[@]}"
part step-small 60 "${bench[@]}" step --model suites/RN50-64.json --precision bf16 "${small[@]}"
part step-tiny 60 "${bench[@]}" step --model tiny --tokens 12 --precision fp32 "${tiny[@]}"
part pool 60 "${bench[@]}" pool "${pool[@]}"
part start 90 "${bench[@]}" start
part smoke-device 180 "${run[@]}" --device "$device" --out "$out/smoke-device"
part smoke-cpu 180 "${run[@]}" --device cpu --out "$out/smoke-cpu"
part compare 20 "$python" bench/compare.py "$out/smoke-cpu" "$out/smoke-device"
part smoke-bf16 120 "${run[@]}" --device "$device" --out "$out/smoke-bf16" --set recipe.precision=bf16
part compare-bf16 20 "$python" bench/compare.py "$out/smoke-cpu" "$out/smoke-bf16"
part step-kernels 120 "${bench[@]}" --kernels step --model "$model" --precision bf16 "${step[@]}"
part step-fp32 120 "${bench[@]}" step --model "$model" --precision fp32 "${step[@]}"
"$python" -c 'import open_clip' 2>/dev/null &&
  part peers 200 "$python" bench/gpu_peers.py --gauntlet "$gauntlet" --device "$device" --model RN50 --threads "$threads" "${peers[@]}"
rm -rf "$out"/smoke-*/store

list=$(IFS=,; echo "${parts[*]}")
passed=$([ "$failed" = 0 ] && echo true || echo false)
echo "{\"device\": \"$device\", \"model\": \"$model\", \"passed\": $passed, \"seconds\": $((SECONDS - started)), \"parts\": [$list]}" |
  "$python" -m json.tool >"$out/summary.json"
cat "$out/summary.json"
exit "$failed"
