import NIOCore

/// ApiVersions (18): which requests, in which versions, this broker serves.
enum ApiVersionsHandler {
    static let handler = APIHandler(.apiVersions, versions: 0...3, firstFlexible: 3) { context, reader in
        var reader = reader
        if context.apiVersion >= 3 {
            _ = try reader.string("client software name")
            _ = try reader.string("client software version")
            try reader.skipTaggedFields()
        }
        var writer = context.response()
        let error = try context.injectedError() ?? .none
        write(table: context.cluster.apiTable, version: context.apiVersion, error: error, to: &writer)
        return writer
    }

    private static func write(table: [Int16: APIHandler], version: Int16, error: ErrorCode, to writer: inout WireWriter) {
        writer.error(error)
        writer.array(table.values.sorted { $0.key.rawValue < $1.key.rawValue }) { writer, handler in
            writer.int16(handler.key.rawValue)
            writer.int16(handler.versions.lowerBound)
            writer.int16(handler.versions.upperBound)
            writer.noTaggedFields()
        }
        if version >= 1 { writer.int32(0) }  // throttle time
        writer.noTaggedFields()
    }

    /// A client that asks with a version from the future gets UNSUPPORTED_VERSION in the form of version 0, which
    /// everyone can read, with what the broker knows (KIP-511).
    static func unsupportedVersion(correlationID: Int32, table: [Int16: APIHandler]) -> [IOData] {
        var writer = WireWriter()
        writer.int32(0)
        writer.int32(correlationID)
        write(table: table, version: 0, error: .unsupportedVersion, to: &writer)
        return writer.finishFrame()
    }
}
