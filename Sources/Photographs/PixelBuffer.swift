import Foundation

/// Bytes that grow on demand and are kept between images, so that a worker does not fault fresh pages in for
/// each.
final class PixelBuffer {
    private(set) var bytes: UnsafeMutablePointer<UInt8>
    private(set) var capacity: Int

    init(capacity: Int = 4096) {
        bytes = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { bytes.deallocate() }

    /// Room for `count` bytes; what was there is lost when it has to grow.
    func reserve(_ count: Int) {
        guard count > capacity else { return }
        bytes.deallocate()
        capacity = max(count, capacity + capacity / 2)
        bytes = .allocate(capacity: capacity)
    }
}
