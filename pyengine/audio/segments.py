"""Where speech is, and where a recording is cut for a model that hears so much at once.

A cut depends only on what lies before it and a little after it, never on where the recording ends:
a stream and a whole file are cut alike. Loudness over a noise floor that follows the recording
decides what is speech (as in Sohn et al. 1999, without their statistics)."""
from dataclasses import dataclass

from pyengine.lazy import np

FRAME = 0.02          # seconds
QUIET = -58.0         # dB of full scale: nothing below is speech
ABOVE = 7.0           # dB over the noise floor: speech
RISE = 2.0            # dB a second that the floor rises at most
BEGIN = 3             # frames in a row that begin speech: less is a click
PAD = 0.3             # seconds kept on either side of speech
LONG_PAUSE = 2.0      # seconds of silence that end a segment of any length
PAUSE = 0.4           # and one that is FULL seconds long
FULL, MOST = 14.0, 26.0


@dataclass(frozen=True)
class Segment:
    """Samples `start` .. `end`; `closed`: what comes later does not change it."""
    start: int
    end: int
    closed: bool = True


def loudness(samples, rate):
    """dB of full scale of each whole FRAME, f64."""
    size = int(rate * FRAME)
    frames = samples[:len(samples) // size * size].reshape(-1, size).astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    return 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)


def speaking(levels):
    """Whether each frame is speech: louder than a floor that falls with the recording at once and
    rises slowly."""
    floor, found = None, np.zeros(len(levels), bool)
    smooth = np.convolve(levels, np.ones(5) / 5)[:len(levels)] if len(levels) else levels
    smooth[:4] = levels[:4]
    for i, level in enumerate(smooth.tolist()):
        # a recording may begin in the middle of a word: the first floor is a guess below it
        floor = min(level, -45.0) if floor is None else min(level, floor + RISE * FRAME)
        found[i] = levels[i] > max(QUIET, floor + ABOVE)
    return found


class _Cutter:
    """Walks over frames; `begin` and `last` are the first and last frame of speech of the segment
    under way, None between segments."""

    def __init__(self, levels):
        self._levels, self._run = levels, 0
        self.begin = self.last = None
        self.free = 0                     # first frame that no segment has
        self.found = []                   # (first frame, behind the last)

    def take(self, i, speech):
        self._run = self._run + 1 if speech else 0
        if self.begin is None:
            if self._run >= BEGIN:
                self.begin, self.last = i + 1 - self._run, i
            return
        if speech:
            self.last = i
        first = self.first
        pause, length = (i - self.last) * FRAME, (i + 1 - first) * FRAME
        if pause >= LONG_PAUSE or length >= FULL and pause >= PAUSE:
            self._close(min(i + 1, self.last + 1 + round(PAD / FRAME)))
            self.begin = None
        elif length >= MOST:
            cut = self._quietest(first, i)
            self._close(cut)
            self.begin = cut

    @property
    def first(self):
        """The segment's first frame, with what is kept before its speech."""
        return max(self.free, self.begin - round(PAD / FRAME))

    def _quietest(self, first, i):
        """The frame in the second half that lies in the quietest tenth of a second."""
        half = first + (i - first) // 2
        around = np.convolve(self._levels[half:i + 1], np.ones(5) / 5, "valid")
        return half + 2 + int(np.argmin(around))

    def _close(self, end):
        self.found.append((self.first, end))
        self.free = end


def cut(samples, rate, live=False):
    """[Segment] of the speech in mono f32 `samples`, in order, none longer than MOST seconds.
    `live`: the recording goes on, so that the last one may be open."""
    levels = loudness(samples, rate)
    speech, cutter = speaking(levels), _Cutter(levels)
    for i, one in enumerate(speech.tolist()):
        cutter.take(i, one)
    size = int(rate * FRAME)
    found = [Segment(a * size, b * size) for a, b in cutter.found]
    if cutter.begin is not None:
        end = min(len(levels), cutter.last + 1 + round(PAD / FRAME))
        whole = end == len(levels)
        found.append(Segment(cutter.first * size, len(samples) if whole else end * size, not live))
    return found


def consumed(samples, rate, segments):
    """Samples, from the first, that a live recording can forget: those before the open segment, or
    before what might begin one."""
    if segments and not segments[-1].closed:
        return segments[-1].start
    kept = int(rate * (PAD + 2 * BEGIN * FRAME))
    size = int(rate * FRAME)
    least = segments[-1].end if segments else 0
    return max(least, (len(samples) - kept) // size * size, 0)
