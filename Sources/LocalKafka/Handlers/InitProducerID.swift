/// InitProducerId (22): ids for idempotent producers. Transactions are not served.
enum InitProducerIDHandler {
    static let handler = APIHandler(.initProducerID, versions: 0...4, firstFlexible: 2) { context, reader in
        var reader = reader
        let transactionalID = try reader.nullableString("transactional id")
        _ = try reader.int32()  // transaction timeout
        if context.apiVersion >= 3 {
            _ = try reader.int64()  // the producer's present id and epoch: a new id serves as well
            _ = try reader.int16()
        }
        try reader.skipTaggedFields()

        var error = try context.injectedError() ?? .none
        var id: Int64 = -1
        if error == .none {
            if transactionalID != nil {
                error = .unsupportedVersion
            } else {
                do { id = try context.cluster.data.takeProducerID() } catch { id = -1 }
                if id < 0 { error = .kafkaStorageError }
            }
        }
        var writer = context.response()
        writer.int32(0)  // throttle time
        writer.error(error)
        writer.int64(id)
        writer.int16(id >= 0 ? 0 : -1)  // producer epoch
        writer.noTaggedFields()
        return writer
    }
}
