@testable import Checkpoints
import AsyncHTTPClient
import Foundation
import GRDB
import NIOCore
import Testing

/// What errors of SQLite, etcd and the transport mean: tables of decisions.
@Suite struct StoreFaultTests {
    @Test(arguments: [ResultCode.SQLITE_IOERR_FSYNC, .SQLITE_IOERR_WRITE, .SQLITE_IOERR_READ, .SQLITE_IOERR_DATA])
    func anIOErrorEndsTheTrustForGood(code: ResultCode) {
        let trust = FileTrust()
        let commit = SQLiteFaults.storeError(DatabaseError(resultCode: code), path: "f", access: .write, trust: trust)
        #expect(commit.kind == .ambiguous)
        #expect(trust.message?.contains("not trusted any more") == true)
        let read = SQLiteFaults.storeError(DatabaseError(resultCode: code), path: "f", access: .read, trust: trust)
        #expect(read.kind == .corrupt)
    }

    @Test func aFullDiskDoesNotEndTheTrust() {
        let trust = FileTrust()
        for code in [ResultCode.SQLITE_FULL, .SQLITE_IOERR_SHMSIZE] {
            #expect(
                SQLiteFaults.storeError(DatabaseError(resultCode: code), path: "f", access: .write, trust: trust).kind
                    == .refused)
        }
        #expect(
            SQLiteFaults.storeError(DatabaseError(resultCode: .SQLITE_BUSY), path: "f", access: .write, trust: trust).kind
                == .unavailable)
        #expect(trust.message == nil)
    }

    @Test(arguments: [
        "etcdserver: request timed out", "etcdserver: request timed out, possibly due to previous leader failure",
        "etcdserver: request timed out, possibly due to connection lost", "etcdserver: leader changed",
        "etcdserver: server stopped",
        "context deadline exceeded", "something new",
    ])
    func aCommitThatMayHaveBeenAppliedIsAmbiguous(message: String) {
        #expect(EtcdFaults.verdict(code: 14, message: message, effect: .write) == .failed(.ambiguous, message))
        #expect(EtcdFaults.verdict(code: 14, message: message, effect: .read) == .nextEndpoint(message))
    }

    @Test(arguments: ["etcdserver: no leader", "etcdserver: too many requests", "raft proposal dropped"])
    func aCommitThatWasNotProposedGoesToTheNextEndpoint(message: String) {
        #expect(EtcdFaults.verdict(code: 14, message: message, effect: .write) == .nextEndpoint(message))
    }

    @Test func tokensAreRenewed() {
        for message in ["etcdserver: invalid auth token", "etcdserver: revision of auth store is old"] {
            #expect(EtcdFaults.verdict(code: 3, message: message, effect: .write) == .newToken(message))
        }
    }

    @Test func transportErrorsAreToldApart() {
        func verdict(_ error: any Error) -> EtcdFaults.Verdict { EtcdFaults.verdict(transport: error, effect: .write) }
        #expect(verdict(HTTPClientError.connectTimeout) == .nextEndpoint("no connection in time"))
        #expect(verdict(IOError(errnoCode: ECONNREFUSED, reason: "connect")) == .nextEndpoint("connection refused"))
        for error in [HTTPClientError.deadlineExceeded, .remoteConnectionClosed, .readTimeout] as [any Error] + [
            IOError(errnoCode: ECONNRESET, reason: "read")
        ] {
            guard case .failed(.ambiguous, _) = verdict(error) else {
                Issue.record("\(error) after sending must be ambiguous")
                continue
            }
            guard case .nextEndpoint = EtcdFaults.verdict(transport: error, effect: .read) else {
                Issue.record("a read may go to the next endpoint after \(error)")
                continue
            }
        }
    }

    @Test func readsBothShapesOfErrors() throws {
        func failure(_ json: String) throws -> EtcdWire.Failure {
            try JSONDecoder().decode(EtcdWire.Failure.self, from: Data(json.utf8))
        }
        #expect(try failure(#"{"error":"e","message":"m","code":14}"#).message == "m")
        #expect(try failure(#"{"code":14,"message":"m","details":[]}"#).code == 14)
        #expect(try failure(#"{"error":"old","code":3}"#).message == "old")
        let line = try JSONDecoder().decode(
            EtcdWire.WatchLine.self, from: Data(#"{"error":{"grpc_code":14,"message":"m"}}"#.utf8))
        #expect(line.error?.message == "m" && line.error?.code == 14)
    }

    @Test func numbersAreTakenAsTextOrNumber() throws {
        let json = #"{"header":{"revision":9223372036854775807},"kvs":[{"key":"YQ==","mod_revision":"7"}]}"#
        let answer = try JSONDecoder().decode(EtcdWire.RangeResponse.self, from: Data(json.utf8))
        #expect(answer.header?.revision?.value == .max)
        #expect(answer.kvs?.first?.stored == StoredValue(bytes: [], revision: 7))
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(EtcdWire.Header.self, from: Data(#"{"revision":"9223372036854775808"}"#.utf8))
        }
    }
}

@Suite struct StoreConfigurationTests {
    @Test func parses() throws {
        #expect(try StoreConfiguration(parsing: "sqlite:/a/b.db") == .sqlite(path: "/a/b.db"))
        #expect(try StoreConfiguration(parsing: "sqlite:///a/b.db") == .sqlite(path: "/a/b.db"))
        #expect(try StoreConfiguration(parsing: "sqlite:b.db") == .sqlite(path: "b.db"))
        #expect(try StoreConfiguration(parsing: "etcd://h1") == .etcd(EtcdConfiguration(endpoints: [.init(host: "h1")])))
        let all = try StoreConfiguration(
            parsing: "etcd://h1:1,[::1]:2,h3/my/place?ca=/ca%20x.pem&cert=/c.pem&key=/k.pem&timeout-ms=500")
        #expect(
            all
                == .etcd(
                    EtcdConfiguration(
                        endpoints: [.init(host: "h1", port: 1), .init(host: "::1", port: 2), .init(host: "h3")],
                        prefix: "/my/place/",
                        tls: .init(authorityFile: "/ca x.pem", certificateFile: "/c.pem", keyFile: "/k.pem"),
                        requestTimeout: .milliseconds(500))))
    }

    @Test func readsThePasswordFromAFile() throws {
        let directory = try storeDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appending(path: "password").path
        try "se cret\n".write(toFile: file, atomically: true, encoding: .utf8)
        guard case .etcd(let configuration) = try StoreConfiguration(parsing: "etcd://h?user=u&password-file=\(file)") else {
            Issue.record("no etcd configuration")
            return
        }
        #expect(configuration.credentials == .init(user: "u", password: "se cret"))
        #expect(!"\(configuration.name) \(configuration.credentials as Any)".contains("cret"))
    }

    @Test(arguments: [
        ("", "sqlite:/path"), ("redis://h", "sqlite:/path"), ("sqlite:", "sqlite:/path/to/store.db"),
        ("sqlite:/dir/", "sqlite:/path/to/store.db"), ("etcd://", "host:2379"), ("etcd://h:0", "host:2379"),
        ("etcd://h:99999", "host:2379"), ("etcd://h:x", "host:2379"), ("etcd://h1,,h2", "host:2379"),
        ("etcd://::1:2379", "[::1]:2379"),
        ("etcd://[::1", "[::1]:2379"), ("etcd://u:hunter2@h", "password-file"), ("etcd://h?password=hunter2", "password-file"),
        ("etcd://h?tsl=true", "known are"), ("etcd://h?tls=yes", "tls=true or tls=false"), ("etcd://h?tls", "tls=…"),
        ("etcd://h?tls=true&tls=true", "twice"), ("etcd://h?tls=false&ca=/x", "leave one"),
        ("etcd://h?cert=/c", "cert= and key="),
        ("etcd://h?user=u", "go together"), ("etcd://h?user=u&password-file=/nonexistent", "can't be read"),
        ("etcd://h?timeout-ms=0", "1 to 600000"),
    ])
    func saysWhatWouldBeRight(text: String, hint: String) {
        do throws(StoreError) {
            Issue.record("\(text) was taken for \(try StoreConfiguration(parsing: text))")
        } catch {
            #expect(error.kind == .misconfigured)
            #expect(error.message.contains(hint), "\(error)")
            #expect(!error.description.contains("hunter2") && !error.description.contains("\n"))
        }
    }

    @Test func anUnreadableCertificateIsMisconfigured() {
        var configuration = EtcdConfiguration(endpoints: [.init(host: "h")])
        configuration.tls = .init(authorityFile: "/nonexistent.pem")
        do throws(StoreError) {
            _ = try EtcdStore(configuration)
            Issue.record("took a certificate that does not exist")
        } catch {
            #expect(error.kind == .misconfigured && error.message.contains("/nonexistent.pem"))
        }
    }

    @Test func opensEither() async throws {
        let directory = try storeDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let sqlite = try await StoreConfiguration(parsing: "sqlite:\(directory.path)/s.db").open()
        try await sqlite.put("k", "v")
        await sqlite.close()
        // Nobody is there; making it asks nobody.
        let etcd = try await StoreConfiguration(parsing: "etcd://127.0.0.1:1").open()
        let error = await storeError { _ = try await etcd.get("k") }
        #expect(error?.kind == .unavailable)
        #expect(error?.message.contains("connection refused") == true, "\(error as Any)")
        await etcd.close()
    }

    /// The HTTP client underneath traps when it is dropped without a shutdown.
    @Test func forgettingToCloseIsNoTrap() async throws {
        for _ in 0..<3 {
            let etcd = try await StoreConfiguration(parsing: "etcd://127.0.0.1:1").open()
            #expect(await storeError { _ = try await etcd.get("k") }?.kind == .unavailable)
        }
        let directory = try storeDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        for _ in 0..<3 {
            let sqlite = try await StoreConfiguration(parsing: "sqlite:\(directory.path)/s.db").open()
            try await sqlite.increment("n")
        }
    }
}
