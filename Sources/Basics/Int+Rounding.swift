extension Int {
    /// Returns the quotient rounded up; both numbers are positive.
    @inlinable public func ceilDivided(by divisor: Int) -> Int { (self + divisor - 1) / divisor }

    /// Returns the smallest multiple of `unit` that is not smaller.
    @inlinable public func roundedUp(to unit: Int) -> Int { ceilDivided(by: unit) * unit }
}
