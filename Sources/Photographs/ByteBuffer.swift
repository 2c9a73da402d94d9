/// Holds memory that grows on demand and is used again for the next photograph.
///
/// Fresh memory for each photograph would cost a page fault for every 4 KiB.
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
