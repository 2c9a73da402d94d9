extension Oracle {
    /// Returns the matrix product C = op(A) · op(B), all row-major.
    ///
    /// - Parameters:
    ///   - a: [rows][depth], or [depth][rows] with `transposeA`.
    ///   - b: [depth][columns], or [columns][depth] with `transposeB`.
    /// - Returns: C as [rows][columns].
    public static func gemm(
        _ a: [Double], _ b: [Double], rows: Int, columns: Int, depth: Int, transposeA: Bool = false,
        transposeB: Bool = false
    ) -> [Double] {
        precondition(a.count == rows * depth && b.count == depth * columns)
        var c = [Double](repeating: 0, count: rows * columns)
        for row in 0..<rows {
            for column in 0..<columns {
                var sum = 0.0
                for k in 0..<depth {
                    sum +=
                        a[transposeA ? k * rows + row : row * depth + k]
                        * b[transposeB ? column * depth + k : k * columns + column]
                }
                c[row * columns + column] = sum
            }
        }
        return c
    }
}
