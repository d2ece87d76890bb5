"""pwa_shell/js/gpu_guided.js over a runner and a grammar that are played: what ends a run of steps,
and what is told then."""
import json
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "pwa_shell/js/gpu_guided.js"
PLAY = """
const { guidedSteps } = await import(process.argv[1]);
const { ids, count, stops, fails, ends, late } = JSON.parse(process.argv[2]);
const log = [];
let drawn = 0, runs = 0, asked = 0;
const runner = {
  async run(programs, buffer) {
    if (++runs === fails) throw new Error("lost");
    log.push(programs);
    if (buffer < 0) return null;
    await null; // as a readback does, it comes later
    return new Uint8Array(new Uint32Array([ids[drawn++]]).buffer);
  },
  lacks: (programs) => programs === "draw" && drawn < late,
  write: (buffer, offset) => log.push(`${buffer}@${offset}`),
};
const answer = async () => {
  const at = asked++;
  return { reply: JSON.stringify({ accepted: true, empty: at === ends, at }), mask: new Uint8Array(4) };
};
const told = await guidedSteps(runner, "forward", "draw", answer(), (token) => answer(log.push(token)), 7, [1, 8],
  count, stops, [2, 0, 4]).catch((error) => ({ error: error.message }));
const { error, data, reply, later, forwards } = told;
console.log(JSON.stringify({ log, error, forwards, at: reply && JSON.parse(reply).at, later: later && JSON.parse((await later).reply).at,
  ids: data && [...new Uint32Array(data.slice().buffer)] }));
"""


def play(ids=(70000, 6, 7, 9), count=3, stops=(9,), fails=0, ends=-1, late=0):
    node = shutil.which("node") or pytest.skip("node is not installed")
    given = json.dumps({"ids": ids, "count": count, "stops": stops, "fails": fails, "ends": ends,
                        "late": late})
    command = [node, "--input-type=module", "-e", PLAY, MODULE.as_uri(), given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BEHIND = ["draw", "1@8", "forward"]


def test_as_many_steps_as_are_wanted():
    """The forward of the next step goes out behind a draw, before its id is there; behind the last,
    none."""
    found = play()
    assert found["log"] == ["forward", "7@0", *BEHIND, 70000, "7@0", *BEHIND, 6, "7@0", "draw"]
    assert (found["ids"], found["at"], found["later"]) == ([70000, 6, 7], 2, None)
    assert found["forwards"] == 3


def test_nothing_overtakes_a_draw_whose_pipelines_are_still_made():
    found = play(late=1)
    assert found["log"] == ["forward", "7@0", "draw", 70000, "1@8", "forward",
                            "7@0", *BEHIND, 6, "7@0", "draw"]
    assert (found["ids"], found["forwards"]) == ([70000, 6, 7], 3)


def test_a_stop_ends_them_and_is_not_asked_about():
    found = play(ids=[5, 9, 4])
    assert (found["ids"], found["at"], found["forwards"]) == ([5, 9], 1, 3)
    assert 9 not in found["log"]
    assert play(ids=[5, 6, 9])["forwards"] == 3  # behind the last that is wanted none was begun


def test_a_grammars_end_ends_them():
    found = play(ends=1)
    assert (found["ids"], found["at"], found["forwards"]) == ([70000], 1, 2)
    assert found["log"][-2:] == ["forward", 70000] and play(ends=0)["ids"] == []


def test_a_failure_is_thrown_at_the_first_step_and_left_to_the_next_call_after_it():
    assert play(fails=1)["error"] == play(fails=2)["error"] == "lost"
    for call in (3, 4):
        found = play(fails=call)
        assert (found["ids"], found["at"], found["later"]) == ([70000], None, 1)
