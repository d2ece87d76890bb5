{# The best (score, id) over a workgroup of THREADS, by `better` of common/sample.wgsl; every thread gets it. #}
var<workgroup> scores: array<f32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;
struct Best { score: f32, id: u32 }

fn best_of_all(tid: u32, score: f32, id: u32) -> Best {
  workgroupBarrier();
  scores[tid] = score;
  ids[tid] = id;
  workgroupBarrier();
  for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride && better(scores[tid + stride], ids[tid + stride], scores[tid], ids[tid])) {
      scores[tid] = scores[tid + stride];
      ids[tid] = ids[tid + stride];
    }
    workgroupBarrier();
  }
  return Best(scores[0], ids[0]);
}
