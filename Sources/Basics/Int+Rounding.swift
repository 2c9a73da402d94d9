extension Int {
    /// Returns the quotient rounded up; both numbers are positive.
    @inlinable public func ceilDivided(by divisor: Int) -> Int { (self + divisor - 1) / divisor }

    /// Returns the smallest multiple of `unit` that is not smaller.
    @inlinable public func roundedUp(to unit: Int) -> Int { ceilDivided(by: unit) * unit }
}

extension [Int] {
    /// The product of the numbers; nil if it overflows.
    package var checkedProduct: Int? {
        contains(0)
            ? 0
            : reduce(1) { (product: Int?, factor) in
                guard let (next, overflow) = product?.multipliedReportingOverflow(by: factor) else {
                    return nil
                }
                return overflow ? nil : next
            }
    }
}
