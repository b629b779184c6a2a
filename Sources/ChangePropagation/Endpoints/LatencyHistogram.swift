/// How long actions took, as Prometheus counts it.
public struct LatencyHistogram: Sendable, Hashable, Codable {
    /// Upper bounds in seconds; what is longer is only in `count`.
    public static let bounds: [Double] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]

    /// By bound: those that took that long at most, and longer than the bound before.
    public private(set) var buckets = [Int](repeating: 0, count: bounds.count)
    public private(set) var count = 0
    /// Seconds.
    public private(set) var sum = 0.0

    public init() {}

    public mutating func observe(_ seconds: Double) {
        count += 1
        sum += seconds
        if let index = Self.bounds.firstIndex(where: { seconds <= $0 }) { buckets[index] += 1 }
    }
}
