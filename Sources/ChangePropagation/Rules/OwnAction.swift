/// What a request to an internal path, or an entry of `exec` without a URL, means: an action of switchback's own, compiled.
enum OwnAction: Sendable {
    /// `/sys/queue/events`: the body's events go to the streams that their `meta.stream` names.
    case events
    /// `/sys/partition/`: the body's event goes to another stream, at the partition that a field of it says.
    case partition(Partitioner)
    /// `/sys/purge/`: caches forget the URLs in the body's `meta.uri`.
    case purge(PurgeService)
    /// `produce: STREAM`: the body, or the event itself, goes to that stream.
    case produce(stream: TextTemplate, key: TextTemplate?, partition: Int32?)
    /// `log: FILE`: the body, or the event itself, becomes a line of that file.
    case log(file: String)
    /// A path that nobody answers for.
    case unknown

    /// Every path that a template of it names, but for those that are about the body.
    var paths: [FieldPath] {
        if case .produce(let stream, let key, _) = self { stream.paths + (key?.paths ?? []) } else { [] }
    }

    func fill(from event: EventContext, uri: String, body: JSONValue?, salt: String) throws(EventError) -> ActionRequest.Target {
        let cause = event.message
        switch self {
        case .events:
            let partition = try Self.partition(of: uri)
            var events: [StreamEvent] = []
            for (index, value) in try Self.items(body).enumerated() {
                guard let stream = value["meta"]?["stream"]?.string ?? value["meta"]?["topic"]?.string, !stream.isEmpty else {
                    throw EventError(.badBody(reason: "an event to be written has no meta.stream, which says where to"))
                }
                events.append(StreamEvent(value, stream: stream, partition: partition, cause: cause, salt: "\(salt) \(index)"))
            }
            return .produce(events)
        case .partition(let partitioner):
            var events: [StreamEvent] = []
            for (index, value) in try Self.items(body).enumerated() {
                let stream = try partitioner.stream.fill(from: EventContext(value))
                events.append(
                    StreamEvent(value, stream: stream, partition: partitioner.partition(of: value), cause: cause, salt: "\(salt) \(index)"))
            }
            return .produce(events)
        case .purge(let service):
            var urls: [String] = []
            for value in try Self.items(body) {
                guard let uri = value["meta"]?["uri"]?.string, let url = Self.purgeURL(uri) else {
                    throw EventError(.badBody(reason: "what is to be purged has no meta.uri that begins with http://, https:// or //"))
                }
                urls.append(url)
            }
            return .purge(urls, service)
        case .produce(let stream, let key, let partition):
            let key = try key?.fill(from: event).utf8
            return .produce([
                StreamEvent(
                    body ?? cause, stream: try stream.fill(from: event), partition: partition, key: key.map { Array($0) }, cause: cause, salt: salt)
            ])
        case .log(let file): return .log(file: file, line: (body ?? cause).jsonBytes)
        case .unknown: throw EventError(.noModule(path: uri))
        }
    }

    /// A body that is one object stands for a list of it.
    private static func items(_ body: JSONValue?) throws(EventError) -> [JSONValue] {
        switch body {
        case .object?: return [body].compactMap(\.self)
        case .array(let items)? where !items.isEmpty:
            for item in items {
                guard case .object = item else { throw EventError(.badBody(reason: "a list of events must hold objects only")) }
            }
            return items
        default: throw EventError(.badBody(reason: "an event or a list of events would be right"))
        }
    }

    /// The number behind `/sys/queue/events/`; nil: none is there.
    private static func partition(of uri: String) throws(EventError) -> Int32? {
        let rest = uri.dropFirst(Modules.eventsPath.count).trimming { $0 == "/" }
        if rest.isEmpty { return nil }
        guard let partition = Int32(rest), partition >= 0 else {
            throw EventError(.badBody(reason: "\"\(rest)\" is not the number of a partition in \(uri)"))
        }
        return partition
    }

    /// Caches know pages by their http URLs, whatever the scheme that readers use. nil: not a URL with a host.
    private static func purgeURL(_ uri: String) -> String? {
        for prefix in ["https://", "http://", "//"] where uri.hasPrefix(prefix) && uri.utf8.count > prefix.utf8.count {
            return "http://" + uri.dropFirst(prefix.count)
        }
        return nil
    }
}

extension Substring {
    fileprivate func trimming(_ isOut: (Character) -> Bool) -> Substring {
        var rest = self
        while let first = rest.first, isOut(first) { rest = rest.dropFirst() }
        while let last = rest.last, isOut(last) { rest = rest.dropLast() }
        return rest
    }
}
