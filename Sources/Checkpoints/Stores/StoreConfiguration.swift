import Foundation
import Logging

/// Which shared store to use, as configuration files and command lines name it.
///
///     sqlite:/var/lib/switchback/store.db
///     etcd://h1:2379,h2:2379/switchback/v1/?tls=true&ca=/etc/ca.pem&user=worker&password-file=/etc/switchback/password
public enum StoreConfiguration: Sendable, Hashable {
    /// Path of the file, absolute or relative to the working directory.
    case sqlite(path: String)
    case etcd(EtcdConfiguration)

    /// - Throws: `misconfigured`, with one line that says what would be right. The line never holds a password.
    public init(parsing text: String) throws(StoreError) {
        if let path = text.dropping(prefix: "sqlite:") {
            let path = path.hasPrefix("//") ? String(path.dropFirst(2)) : path
            guard !path.isEmpty, !path.hasSuffix("/") else {
                throw Self.wrong(text, "no file; sqlite:/path/to/store.db would be right")
            }
            self = .sqlite(path: path)
        } else if let rest = text.dropping(prefix: "etcd://") {
            self = .etcd(try Self.etcd(text, rest))
        } else {
            throw Self.wrong(text, "unknown kind of store; sqlite:/path/to/store.db or etcd://host:2379 would be right")
        }
    }

    /// Opens the store. SQLite's file is checked and made; etcd is first spoken to by the first call.
    public func open(logger: Logger = Logger(label: "switchback.store")) async throws(StoreError) -> any SharedStore {
        switch self {
        case .sqlite(let path): try await SQLiteStore.open(path: path)
        case .etcd(let configuration): try EtcdStore(configuration, logger: logger)
        }
    }

    private static func etcd(_ text: String, _ rest: String) throws(StoreError) -> EtcdConfiguration {
        let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts[0].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        var configuration = EtcdConfiguration(endpoints: [])
        for part in path[0].split(separator: ",", omittingEmptySubsequences: false) {
            configuration.endpoints.append(try endpoint(String(part), in: text))
        }
        if path.count == 2, !path[1].isEmpty {
            configuration.prefix = "/" + path[1] + (path[1].hasSuffix("/") ? "" : "/")
        }
        var options: [String: String] = [:]
        for item in (parts.count == 2 ? parts[1] : "").split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, let value = String(pair[1]).removingPercentEncoding else {
                throw wrong(text, "\(pair[0]) needs a value: \(pair[0])=…")
            }
            guard options.updateValue(value, forKey: String(pair[0])) == nil else {
                throw wrong(text, "\(pair[0]) is given twice")
            }
        }
        try apply(&options, to: &configuration, in: text)
        try configuration.check()
        return configuration
    }

    private static func endpoint(_ part: String, in text: String) throws(StoreError) -> EtcdConfiguration.Endpoint {
        guard !part.contains("@") else {
            throw wrong(text, "no credentials in the address; user=… and password-file=… after a ? would be right")
        }
        var host = part
        var port: Substring?
        if part.hasPrefix("[") {
            guard let bracket = part.firstIndex(of: "]") else {
                throw wrong(text, "\(part) lacks a ]; [::1]:2379 would be right")
            }
            host = String(part[part.index(after: part.startIndex)..<bracket])
            let after = part[part.index(after: bracket)...]
            guard after.isEmpty || after.hasPrefix(":") else {
                throw wrong(text, "\(part) is no endpoint; [::1]:2379 would be right")
            }
            port = after.isEmpty ? nil : after.dropFirst()
        } else if let colon = part.lastIndex(of: ":") {
            host = String(part[..<colon])
            port = part[part.index(after: colon)...]
        }
        let number = port.map { Int($0) } ?? EtcdConfiguration.Endpoint.defaultPort
        guard !host.isEmpty, let number, (1...65535).contains(number), part.hasPrefix("[") || !host.contains(":") else {
            throw wrong(text, "\"\(part)\" is no endpoint; host:2379 or [::1]:2379 would be right")
        }
        return EtcdConfiguration.Endpoint(host: host, port: number)
    }

    private static func apply(
        _ options: inout [String: String], to configuration: inout EtcdConfiguration, in text: String
    ) throws(StoreError) {
        var tls = EtcdConfiguration.TLS()
        tls.authorityFile = options.removeValue(forKey: "ca")
        tls.certificateFile = options.removeValue(forKey: "cert")
        tls.keyFile = options.removeValue(forKey: "key")
        switch options.removeValue(forKey: "tls") {
        case "true": configuration.tls = tls
        case nil: configuration.tls = tls == EtcdConfiguration.TLS() ? nil : tls
        case "false" where tls == EtcdConfiguration.TLS(): configuration.tls = nil
        case "false": throw wrong(text, "tls=false beside ca=, cert= or key=; leave one of the two out")
        case .some(let other): throw wrong(text, "tls=\(other); tls=true or tls=false would be right")
        }
        if let timeout = options.removeValue(forKey: "timeout-ms") {
            guard let milliseconds = Int(timeout), (1...600_000).contains(milliseconds) else {
                throw wrong(text, "timeout-ms=\(timeout); milliseconds from 1 to 600000 would be right")
            }
            configuration.requestTimeout = .milliseconds(milliseconds)
        }
        try applyCredentials(&options, to: &configuration, in: text)
        if let unknown = options.keys.sorted().first {
            throw wrong(text, "unknown option \(unknown); known are tls, ca, cert, key, user, password-file and timeout-ms")
        }
    }

    private static func applyCredentials(
        _ options: inout [String: String], to configuration: inout EtcdConfiguration, in text: String
    ) throws(StoreError) {
        if options["password"] != nil {
            throw wrong(text, "no password on the command line, where others can read it; password-file=… would be right")
        }
        switch (options.removeValue(forKey: "user"), options.removeValue(forKey: "password-file")) {
        case (nil, nil): break
        case (let user?, let file?):
            guard let content = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw wrong(text, "the password file \(file) can't be read")
            }
            configuration.credentials = .init(user: user, password: content.trimmingCharacters(in: .newlines))
        default: throw wrong(text, "user= and password-file= go together")
        }
    }

    private static func wrong(_ text: String, _ message: String) -> StoreError {
        // Up to the options, and past any user:password@.
        let shown = text.prefix { $0 != "?" }
        let safe = shown.lastIndex(of: "@").map { "…" + shown[$0...] } ?? String(shown)
        return StoreError(.misconfigured, store: safe, message: message)
    }
}

extension String {
    fileprivate func dropping(prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
