{# Keys, masses and 64-bit sums for top-k and top-p; a 64-bit number is vec2(low, high).
   Scratch words (u32): SEL_* below, then five histograms of BINS: counts by the key's high half,
   its masses' low and high words, counts by the low half inside the bin where top-k ends, the same
   for top-p. Needs `scratch: array<atomic<u32>>`, common/sample.wgsl and 256 threads. #}
const BINS: u32 = 2048u;
const LOW_BITS: u32 = 11u;
const MAX_KEY: u32 = 4194303u;
// the maximum's bits
const SEL_TOP: u32 = 0u;
// where top-k ends: high half, ids before that bin, key, ids kept of that key
const SEL_K_BIN: u32 = 1u;
const SEL_K_BEFORE: u32 = 2u;
const SEL_K_KEY: u32 = 3u;
const SEL_K_TIES: u32 = 4u;
// where top-p ends: high half, and the mass (6, 7) still wanted from there on
const SEL_P_BIN: u32 = 5u;
const SEL_P_NEED: u32 = 6u;
// the last kept key and how many ids of it, lowest first
const SEL_KEY: u32 = 8u;
const SEL_TIES: u32 = 9u;
const COUNT: u32 = 16u;
const MASS_LOW: u32 = COUNT + BINS;
const MASS_HIGH: u32 = MASS_LOW + BINS;
const K_COUNT: u32 = MASS_HIGH + BINS;
const P_COUNT: u32 = K_COUNT + BINS;
const ALL: u32 = 0xffffffffu;

fn key_of(top: f32, x: f32, scale: f32) -> u32 {
  return u32(min(distance_to(top, x) * scale, f32(MAX_KEY)));
}

fn mul64(a: u32, b: u32) -> vec2<u32> {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let m = a1 * b0 + ((a0 * b0) >> 16u);
  let k = a0 * b1 + (m & 0xffffu);
  return vec2<u32>(a * b, a1 * b1 + (m >> 16u) + (k >> 16u));
}

fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn sub64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn less64(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }

// exp(-key / 2^17) in units of 2^-30; see sample_math.mass
fn mass(key: u32) -> u32 {
  if (key >= 2804940u) { return 0u; }
  let octaves = mul64(key << 10u, 3098164009u).y;
  let f = (octaves & 0x3ffffffu) << 6u;
  var poly = 48575u;
  poly = 639566u - mul64(f, poly).y;
  poly = 5712139u - mul64(f, poly).y;
  poly = 41304538u - mul64(f, poly).y;
  poly = 238387507u - mul64(f, poly).y;
  poly = 1031764940u - mul64(f, poly).y;
  poly = 2977044471u - mul64(f, poly).y;
  poly = 0x80000000u - (mul64(f, poly).y >> 1u);
  let whole = octaves >> 26u;
  return (poly + (1u << whole)) >> (whole + 1u);
}

{% if search %}
const MINE: u32 = BINS / THREADS;
var<private> mine: array<vec2<u32>, MINE>;     // this thread's consecutive bins
var<workgroup> sums: array<vec2<u32>, THREADS>;
var<workgroup> found_bin: u32;
var<workgroup> found_before: vec2<u32>;

// exclusive prefix sum over the workgroup; the total is in sums[THREADS - 1]
fn scan64(tid: u32, value: vec2<u32>) -> vec2<u32> {
  workgroupBarrier();
  sums[tid] = value;
  workgroupBarrier();
  for (var stride = 1u; stride < THREADS; stride *= 2u) {
    var left = vec2<u32>(0u);
    if (tid >= stride) { left = sums[tid - stride]; }
    workgroupBarrier();
    sums[tid] = add64(sums[tid], left);
    workgroupBarrier();
  }
  if (tid == 0u) { return vec2<u32>(0u); }
  return sums[tid - 1u];
}

// found_bin: the first bin of `mine` over all threads where the running sum reaches wanted, which
// is 1 .. total
fn find(tid: u32, wanted: vec2<u32>) {
  var sum = vec2<u32>(0u);
  for (var j = 0u; j < MINE; j++) { sum = add64(sum, mine[j]); }
  var before = scan64(tid, sum);
  if (less64(before, wanted) && !less64(add64(before, sum), wanted)) {
    for (var j = 0u; j < MINE; j++) {
      let next = add64(before, mine[j]);
      if (!less64(next, wanted)) {
        found_bin = tid * MINE + j;
        found_before = before;
        break;
      }
      before = next;
    }
  }
  workgroupBarrier();
}
{% endif %}
