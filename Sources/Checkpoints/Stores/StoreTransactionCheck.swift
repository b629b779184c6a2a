/// What every store checks of a key or a transaction before anything is sent.

extension StoreTransaction {
    /// The keys of `expected` and `writes`, each once.
    public var keys: Set<StoreKey> { Set(expected.keys).union(writes.keys) }

    /// Throws `refused` for more than `limit` keys, for a key without segments, or for a negative expected revision.
    public func check(limit: Int, store: String) throws(StoreError) {
        let keys = self.keys
        guard keys.count <= limit else {
            throw StoreError(
                .refused, store: store,
                message: "a transaction of \(keys.count) keys is larger than the \(limit) that this store takes; split it")
        }
        for key in keys { try key.check(store: store) }
        for (key, revision) in expected where revision < 0 {
            throw StoreError(
                .refused, store: store, message: "revision \(revision) expected of \(key): 0 or more would be right")
        }
    }
}

extension StoreKey {
    /// Throws `refused` for a key without segments: it would be written like the key of one empty segment.
    func check(store: String) throws(StoreError) {
        guard !segments.isEmpty else {
            throw StoreError(.refused, store: store, message: "a key needs at least one segment")
        }
    }
}
