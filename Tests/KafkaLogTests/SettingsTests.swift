import Foundation
import Testing

@_spi(Testing) @testable import KafkaLog

@Suite(.timeLimit(.minutes(1)))
struct SettingsTests {
    func failure(_ settings: [String: String], servers: String = "127.0.0.1:1") -> KafkaLogError? {
        do throws(KafkaLogError) {
            _ = try KafkaConsumer(KafkaConsumerConfiguration(client: client(servers, settings)))
            return nil
        } catch { return error }
    }

    @Test func anUnknownOrWrongSettingIsNamed() {
        guard case .invalidSetting(let name, _, let reason)? = failure(["no.such.setting": "1"]) else { Issue.record(); return }
        #expect(name == "no.such.setting" && reason.contains("No such configuration property"))
        guard case .invalidSetting(let wrong, let value, _)? = failure(["fetch.min.bytes": "many"]) else { Issue.record(); return }
        #expect(wrong == "fetch.min.bytes" && value == "many")
        guard case .invalidSetting? = failure([:], servers: "") else { Issue.record(); return }
        #expect(failure(["fetch.min.bytes": "2", "security.protocol": "plaintext"]) == nil)
    }

    @Test func secretsStayOutOfErrors() {
        // ssl.key.pem with nonsense is refused when it is set or when the client is made.
        let text = failure(["ssl.key.password": "hunter2", "no.such.secret": "hunter2"]).map { "\($0)" } ?? ""
        #expect(text.contains("no.such.secret") && !text.contains("hunter2"))
    }

    @Test func settingsThatWouldMovePositionsAreRefused() {
        for (name, value) in ["auto.offset.reset": "latest", "enable.auto.commit": "true", "enable.partition.eof": "true",
            "enable.auto.offset.store": "true"]
        {
            #expect(failure([name: value]) == .reservedSetting(name: name, value: value, required: KafkaClientConfiguration.reserved[name] ?? ""))
        }
        #expect(failure(["enable.auto.commit": "false"]) == nil)
    }

    @Test func aClusterThatIsNotThereIsATypedRetriableError() async throws {
        let consumer = try makeConsumer("127.0.0.1:1")
        await #expect(throws: KafkaLogError.clusterUnknown(bootstrapServers: "127.0.0.1:1")) {
            try await consumer.clusterID(timeout: .milliseconds(200))
        }
        #expect(KafkaLogError.clusterUnknown(bootstrapServers: "").isRetriable)
        try await consumer.close(within: .seconds(2))
    }
}
