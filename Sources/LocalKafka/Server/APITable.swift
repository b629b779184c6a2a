/// Every kind of request that the broker serves. Each room of handlers adds its own list.
enum APITable {
    static let all: [Int16: APIHandler] = {
        var table: [Int16: APIHandler] = [:]
        for handler in logHandlers + GroupHandlers.all { table[handler.key.rawValue] = handler }
        return table
    }()

    /// Handlers of the log: produce, fetch, metadata, topics.
    static let logHandlers: [APIHandler] = [
        ApiVersionsHandler.handler,
        MetadataHandler.handler,
        ProduceHandler.handler,
        FetchHandler.handler,
        ListOffsetsHandler.handler,
        InitProducerIDHandler.handler,
        TopicAdminHandlers.createTopics,
        TopicAdminHandlers.deleteTopics,
        TopicAdminHandlers.createPartitions,
        ConfigHandlers.describe,
        ConfigHandlers.alter,
        LogAdminHandlers.deleteRecords,
        LogAdminHandlers.offsetForLeaderEpoch,
        LogAdminHandlers.describeCluster,
    ]
}
