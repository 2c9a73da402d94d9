/// Memory that grows on demand and is kept between photographs, so that no worker faults in fresh pages for
/// each of them.
public final class ByteBuffer {
    /// The memory; another one after `reserve` has grown it.
    public private(set) var bytes: UnsafeMutablePointer<UInt8>
    private var capacity: Int

    init(capacity: Int = 4096) {
        bytes = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { bytes.deallocate() }

    /// Makes room for `count` bytes; the content is lost if the memory has to grow.
    public func reserve(_ count: Int) {
        guard count > capacity else { return }
        bytes.deallocate()
        capacity = max(count, capacity + capacity / 2)
        bytes = .allocate(capacity: capacity)
    }
}
