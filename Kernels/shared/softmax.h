// What both bodies of softmax.cl do with a row's scores. cpu/softmax.cl describes the arguments.

// Whether score i comes before score j. A tie is won by the lower class, and what is not a number comes last:
// a network that has broken down is not right.
static int precedes(const global float *scores, const int i, const int j) {
    const float a = scores[i], b = scores[j];
    return a > b || (isnan(b) && !isnan(a)) || ((a == b || (isnan(a) && isnan(b))) && i < j);
}

// A row's statistics. `rank` has the numbers of classes before the label and before the second label.
static float4 row_statistics(
    const global float *scores, const float2 norm, const int label, const int other, const float share,
    const float weight, const int2 rank, const int best) {
    if (weight == 0) return (float4)(0, 0, 0, best);
    const float rest = 1.0f - share;
    float loss = log(norm.y) - (scores[label] - norm.x);
    // A share of 0 must silence a second label whose score is not finite.
    if (rest > 0) loss = share * loss + rest * (log(norm.y) - (scores[other] - norm.x));
    const float first = (rank.x < 1 ? share : 0) + (rank.y < 1 ? rest : 0);
    const float firstFive = (rank.x < 5 ? share : 0) + (rank.y < 5 ? rest : 0);
    return (float4)(weight * loss, weight * first, weight * firstFive, best);
}
