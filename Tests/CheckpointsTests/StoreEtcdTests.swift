import Checkpoints
import Foundation
import Logging
import TestSupport
import Testing

/// A real etcd that is killed, stopped, cut off, filled and locked. Each test has an etcd of its own.
@Suite(.enabled(if: EtcdServer.isInstalled, "needs /usr/bin/etcd (apt-get install etcd-server)"))
struct StoreEtcdTests {
    private func withEtcd(
        members: Int = 1, arguments: [String] = [], _ body: (EtcdServer) async throws -> Void
    ) async throws {
        let server = try await EtcdServer.start(members: members, arguments: arguments)
        defer { server.shutDown() }
        try await body(server)
    }

    private func withStore(_ configuration: EtcdConfiguration, _ body: (EtcdStore) async throws -> Void) async throws {
        let store = try EtcdStore(configuration)
        let result: Result<Void, any Error>
        do { result = .success(try await body(store)) } catch { result = .failure(error) }
        await store.close()
        try result.get()
    }

    private func proxied(_ proxy: StoreTestProxy, timeout: Duration = .seconds(10)) -> EtcdConfiguration {
        EtcdConfiguration(endpoints: [.init(host: "127.0.0.1", port: proxy.port)], requestTimeout: timeout)
    }

    @Test func keepsItsWordOverKillAndReturn() async throws {
        try await withEtcd { server in
            try await withStore(server.configuration()) { store in
                let revision = try await store.put("k", "v")
                server.kill()
                #expect(await eventually { await storeError { _ = try await store.get("k") }?.kind == .unavailable })
                // A connection whose end was not noticed yet takes one request more, which is ambiguous then.
                #expect(
                    await eventually { await storeError { try await store.put("k", "w") }?.kind == .unavailable },
                    "nobody listens, so nothing is sent")
                try await server.restart()
                #expect(try await store.get("k") == StoredValue(bytes: Array("v".utf8), revision: revision))
                #expect(try await store.put("k", "w") > revision)
            }
        }
    }

    @Test func aFrozenServerTimesOut() async throws {
        try await withEtcd { server in
            try await withStore(server.configuration()) { try await $0.put("k", "v") }
            try await withStore(server.configuration(timeout: .milliseconds(300))) { store in
                server.freeze()
                let start = ContinuousClock.now
                #expect(await storeError { try await store.put("k", "w") }?.kind == .ambiguous)
                #expect(await storeError { _ = try await store.get("k") }?.kind == .unavailable)
                // Two timeouts of 0.3 s, and what a busy machine adds: not for as long as the server is frozen.
                #expect(ContinuousClock.now - start < .seconds(30))
                server.thaw()
                // Whether it was applied is etcd's secret until it is asked.
                var found: StoredValue?
                #expect(await eventually { await storeError { found = try await store.get("k") } == nil })
                #expect(found?.text == "v" || found?.text == "w")
            }
        }
    }

    @Test func anotherEndpointTakesOver() async throws {
        try await withEtcd { server in
            var configuration = server.configuration()
            configuration.endpoints.insert(.init(host: "127.0.0.1", port: 1), at: 0)
            configuration.endpoints.insert(.init(host: "no-such-host.invalid", port: 1), at: 0)
            try await withStore(configuration) { store in
                try await store.put("k", "v")
                #expect(try await store.get("k")?.text == "v")
            }
        }
    }

    @Test func aQuorumGoesOnWithoutItsLeader() async throws {
        let quick = ["--heartbeat-interval", "50", "--election-timeout", "500"]
        try await withEtcd(members: 3, arguments: quick) { server in
            try await withStore(server.configuration(timeout: .seconds(2))) { store in
                for _ in 0..<5 { try await store.increment("n") }
                let hints = HintCounter(store.changes(under: "w"))
                #expect(await eventually { hints.count > 0 })
                let leader = try await leader(of: server)
                server.kill(leader)
                let before = hints.count
                #expect(await eventually(within: .seconds(15)) { await storeError { try await store.increment("n") } == nil })
                #expect(
                    await eventually(within: .seconds(15)) {
                        _ = await storeError { try await store.put("w/x", "y") }
                        return hints.count > before
                    })
                let count = try await store.get("n").flatMap { Int($0.text) } ?? 0
                // An increment whose answer was lost may have been made as well.
                #expect(count >= 6)
                try await server.restart(leader)
                #expect(await eventually { await storeError { try await store.increment("n") } == nil })
            }
        }
    }

    /// The index of the member that leads.
    private func leader(of server: EtcdServer) async throws -> Int {
        for member in server.ports.indices {
            let status = try JSONDecoder().decode(
                MemberStatus.self, from: Data(try await server.post("/v3/maintenance/status", "{}", to: member).utf8))
            if status.leader == status.header.member_id { return member }
        }
        throw StoreError(.unavailable, store: server.endpoints, message: "no leader")
    }

    private struct MemberStatus: Decodable {
        struct Header: Decodable { let member_id: String }
        let header: Header
        let leader: String?
    }

    /// FAULTS F47: 1. the commit arrives, 2. etcd applies it, 3. the answer is lost.
    @Test func aCommitWhoseAnswerIsLostIsAmbiguousAndThere() async throws {
        try await withEtcd { server in
            let proxy = try await StoreTestProxy.start(to: server.ports[0])
            try await withStore(proxied(proxy)) { store in
                let revision = try await store.put("k", "v")
                proxy.set(.cutAtAnswer)
                let swap = StoreTransaction(expected: ["k": revision], writes: ["k": .put(Array("w".utf8))])
                #expect(await storeError { _ = try await store.commit(swap) }?.kind == .ambiguous)
                #expect(await storeError { _ = try await store.get("k") }?.kind == .unavailable)
                proxy.set(.forward)
                #expect(try await store.get("k")?.text == "w")
                // The same swap again meets its own value.
                guard case .conflict(let found) = try await store.commit(swap) else {
                    Issue.record("a swap was applied twice")
                    return
                }
                #expect(found[StoreKey("k")]??.text == "w")
            }
            await proxy.stop()
        }
    }

    /// A commit that may have arrived must not be sent again, not even to an endpoint that works.
    @Test func aCommitIsNeverSentTwice() async throws {
        try await withEtcd { server in
            let proxy = try await StoreTestProxy.start(to: server.ports[0])
            var configuration = proxied(proxy)
            configuration.endpoints += server.configuration().endpoints
            try await withStore(configuration) { store in
                proxy.set(.cutAtAnswer)
                #expect(await storeError { try await store.put("k", "v") }?.kind == .ambiguous)
                // The next call begins with the endpoint that works.
                let found = try await store.get("k")
                #expect(found?.revision == 2)
                proxy.set(.swallowAnswers)
                let next = try await store.put("k", "w")
                #expect(next == 3)
            }
            await proxy.stop()
        }
    }

    @Test func readsGoRoundAFrozenEndpointInTime() async throws {
        try await withEtcd { server in
            let proxy = try await StoreTestProxy.start(to: server.ports[0])
            var configuration = proxied(proxy, timeout: .seconds(8))
            configuration.endpoints += server.configuration().endpoints
            try await withStore(configuration) { store in
                try await store.put("k", "v")
                proxy.set(.swallowAnswers)
                #expect(try await store.get("k")?.text == "v")
            }
            await proxy.stop()
        }
    }

    /// FAULTS F51: the watch is cut, changes and a compaction pass it by, it comes back.
    @Test func aWatchSurvivesCompaction() async throws {
        try await withEtcd { server in
            let proxy = try await StoreTestProxy.start(to: server.ports[0])
            try await withStore(proxied(proxy)) { store in
                try await withStore(server.configuration()) { writer in
                    let hints = HintCounter(store.changes(under: "w"))
                    #expect(await eventually { hints.count > 0 })
                    proxy.set(.refuse)
                    proxy.cut()
                    var revision: Int64 = 0
                    for index in 0..<5 { revision = try await writer.put("w/x", "\(index)") }
                    try await server.post("/v3/kv/compaction", #"{"revision":"\#(revision)","physical":true}"#)
                    let before = hints.count
                    proxy.set(.forward)
                    #expect(await eventually { hints.count > before }, "the missed changes need a hint")
                    // And compaction under a living watch.
                    let settled = hints.count
                    revision = try await writer.put("w/x", "more")
                    #expect(await eventually { hints.count > settled })
                    try await server.post("/v3/kv/compaction", #"{"revision":"\#(revision)","physical":true}"#)
                    let compacted = hints.count
                    try await writer.put("w/x", "after")
                    #expect(await eventually { hints.count > compacted })
                }
            }
            await proxy.stop()
        }
    }

    @Test func aWatchIsBegunAnewAtItsAge() async throws {
        try await withEtcd { server in
            let proxy = try await StoreTestProxy.start(to: server.ports[0])
            var configuration = proxied(proxy)
            configuration.maximumWatchAge = .milliseconds(100)
            try await withStore(configuration) { store in
                let hints = HintCounter(store.changes(under: "w"))
                #expect(await eventually { proxy.accepted >= 4 && hints.count >= 3 })
            }
            await proxy.stop()
        }
    }

    @Test func connectionsAreRenewedAtTheirAge() async throws {
        try await withEtcd { server in
            let proxy = try await StoreTestProxy.start(to: server.ports[0])
            var configuration = proxied(proxy)
            configuration.maximumConnectionAge = .seconds(60)
            try await withStore(configuration) { store in
                for _ in 0..<20 { _ = try await store.get("k") }
                #expect(proxy.accepted == 1, "one connection is used again")
            }
            configuration.maximumConnectionAge = .milliseconds(1)
            try await withStore(configuration) { store in
                let renewed = try await eventually {
                    _ = try await store.get("k")
                    return proxy.accepted >= 5
                }
                #expect(renewed)
            }
            await proxy.stop()
        }
    }

    /// FAULTS F53.
    @Test func aFullDatabaseRefusesWritesAndServesReads() async throws {
        try await withEtcd(arguments: ["--quota-backend-bytes", "\(1 << 20)"]) { server in
            try await withStore(server.configuration()) { store in
                let kept = try await store.put("k", "kept")
                var error: StoreError?
                for index in 0..<100 where error?.kind != .refused {
                    let key = StoreKey("big", "\(index)")
                    let large = StoreTransaction(expected: [key: 0], writes: [key: .put(.init(repeating: 1, count: 100_000))])
                    error = await storeError { _ = try await store.commit(large) }
                    // The commit that crosses the quota is applied by etcd, and answered with "space exceeded".
                    if error?.kind == .ambiguous, error?.message.contains("space exceeded") == true {
                        let found = try await store.get(key)
                        #expect(found?.bytes.count == 100_000)
                    }
                }
                #expect(error?.kind == .refused, "\(error as Any)")
                #expect(error?.message.contains("alarm disarm") == true)
                #expect(try await store.get("k")?.revision == kept)
                let swap = StoreTransaction(expected: ["k": kept], writes: ["k": .put([1])])
                #expect(await storeError { _ = try await store.commit(swap) }?.kind == .refused)
                #expect(try await store.status().errors.isEmpty == false)
            }
        }
    }

    @Test func tooLargeARequestIsRefused() async throws {
        try await withEtcd { server in
            try await withStore(server.configuration()) { store in
                let large = StoreTransaction(writes: ["k": .put(.init(repeating: 1, count: 2 << 20))])
                #expect(await storeError { _ = try await store.commit(large) }?.kind == .refused)
                let found = try await store.get("k")
                #expect(found == nil)
            }
        }
    }

    @Test func authentication() async throws {
        try await withEtcd { server in
            var configuration = server.configuration()
            configuration.credentials = .init(user: "worker", password: "right")
            // Credentials for an etcd that asks for none do no harm.
            try await withStore(configuration) { store in try await store.put("before", "v") }
            try await enableAuthentication(of: server)

            try await withStore(server.configuration()) { store in
                let error = await storeError { _ = try await store.get("k") }
                #expect(error?.kind == .misconfigured)
                #expect(error?.message.contains("password-file=") == true, "\(error as Any)")
            }
            var wrong = configuration
            wrong.credentials = .init(user: "worker", password: "wrong")
            try await withStore(wrong) { store in
                #expect(await storeError { _ = try await store.get("k") }?.kind == .misconfigured)
            }
            try await withStore(configuration) { store in
                let revision = try await store.put("k", "v")
                let hints = HintCounter(store.changes(under: "w"))
                #expect(await eventually { hints.count > 0 })
                #expect(try await store.get("k")?.revision == revision)
                // etcd's simple tokens end with the process that gave them.
                server.kill()
                try await server.restart()
                #expect(try await store.put("k", "w") > revision)
                let before = hints.count
                #expect(
                    try await eventually {
                        try await store.put("w/x", "1")
                        return hints.count > before
                    }, "the watch needs the new token too")
            }
            var elsewhere = configuration
            elsewhere.prefix = "/not-granted/"
            try await withStore(elsewhere) { store in
                #expect(await storeError { try await store.put("k", "v") }?.kind == .refused)
                #expect(await storeError { _ = try await store.get("k") }?.kind == .refused)
            }
        }
    }

    /// A user `root`, and `worker` with rights on the default prefix only.
    private func enableAuthentication(of server: EtcdServer) async throws {
        func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
        try await server.post("/v3/auth/role/add", #"{"name":"root"}"#)
        try await server.post("/v3/auth/user/add", #"{"name":"root","password":"root"}"#)
        try await server.post("/v3/auth/user/grant", #"{"user":"root","role":"root"}"#)
        try await server.post("/v3/auth/role/add", #"{"name":"worker"}"#)
        try await server.post("/v3/auth/user/add", #"{"name":"worker","password":"right"}"#)
        try await server.post("/v3/auth/user/grant", #"{"user":"worker","role":"worker"}"#)
        try await server.post(
            "/v3/auth/role/grant",
            #"{"name":"worker","perm":{"permType":"READWRITE","key":"\#(base64("/switchback/v1/"))","range_end":"\#(base64("/switchback/v10"))"}}"#
        )
        let answer = try await server.post("/v3/auth/enable", "{}")
        #expect(answer.contains("header"), "\(answer)")
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl"), "needs /usr/bin/openssl"))
    func speaksTLSWithClientCertificates() async throws {
        let directory = try storeDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        func path(_ name: String) -> String { directory.appending(path: name).path }
        func openssl(_ arguments: String...) async throws {
            let (status, output) = try await runCommand("/usr/bin/openssl", arguments)
            #expect(status == 0, "\(output)")
        }
        try await openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=test CA",
            "-keyout", path("ca.key"), "-out", path("ca.pem"))
        try "subjectAltName=IP:127.0.0.1\n".write(toFile: path("san"), atomically: true, encoding: .utf8)
        for name in ["server", "client"] {
            try await openssl(
                "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=\(name)",
                "-keyout", path("\(name).key"), "-out", path("\(name).csr"))
            try await openssl(
                "x509", "-req", "-days", "2", "-in", path("\(name).csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
                "-CAcreateserial", "-extfile", path("san"), "-out", path("\(name).pem"))
        }
        let server = try await EtcdServer.start(
            arguments: [
                "--cert-file", path("server.pem"), "--key-file", path("server.key"), "--client-cert-auth",
                "--trusted-ca-file", path("ca.pem"),
            ], tls: true)
        defer { server.shutDown() }
        var configuration = server.configuration()
        configuration.tls = .init(
            authorityFile: path("ca.pem"), certificateFile: path("client.pem"), keyFile: path("client.key"))
        try await withStore(configuration) { store in
            #expect(await eventually(within: .seconds(10)) { await storeError { try await store.put("k", "v") } == nil })
            let hints = HintCounter(store.changes(under: "w"))
            #expect(await eventually { hints.count > 0 })
            let found = try await store.get("k")
            #expect(found?.text == "v")
        }
        var unknownAuthority = configuration
        unknownAuthority.tls?.authorityFile = nil
        var plain = configuration
        plain.tls = nil
        try await withStore(unknownAuthority) { store in
            let error = await storeError { _ = try await store.get("k") }
            #expect(error?.kind == .misconfigured, "\(error as Any)")
        }
        try await withStore(plain) { store in
            let error = await storeError { _ = try await store.get("k") }
            #expect(error?.message.contains("tls=true") == true, "\(error as Any)")
        }
        var nameless = configuration
        nameless.tls = .init(authorityFile: path("ca.pem"))
        try await withStore(nameless) { store in
            // With TLS 1.3 the server's refusal comes after the handshake, as a closed connection.
            let error = await storeError { _ = try await store.get("k") }
            #expect(error != nil)
        }
    }

    @Test func statusTellsVersionAndLeader() async throws {
        try await withEtcd { server in
            try await withStore(server.configuration()) { store in
                let status = try await store.status()
                #expect(status.version.hasPrefix("3.") && status.hasLeader && status.databaseSize > 0 && status.errors.isEmpty)
            }
        }
    }

    @Test func whatIsNoEtcdIsNamed() async throws {
        // A proxy to a port that nobody listens on closes every connection.
        let proxy = try await StoreTestProxy.start(to: 1)
        try await withStore(proxied(proxy)) { store in
            let error = await storeError { _ = try await store.get("k") }
            #expect(error?.kind == .unavailable)
            #expect(error?.description.contains("etcd://127.0.0.1:\(proxy.port)/switchback/v1/") == true, "\(error as Any)")
        }
        await proxy.stop()
    }
}
