import Foundation

/// The messages of etcd's v3 JSON gateway that Switchback uses (etcd's rpc.proto in proto3 JSON: bytes are base64, 64-bit
/// numbers are strings, fields with default values are left out).
enum EtcdWire {
    /// An int64, which the gateway writes as a string; numbers are taken too. Absent means 0.
    struct Integer: Codable, Hashable {
        let value: Int64
        init(_ value: Int64) { self.value = value }

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                guard let value = Int64(text) else {
                    throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is no 64-bit integer")
                }
                self.value = value
            } else {
                value = try container.decode(Int64.self)
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encode(String(value))
        }
    }

    struct Header: Decodable {
        let revision: Integer?
    }

    struct KeyValue: Decodable {
        let key: Data
        let value: Data?
        let mod_revision: Integer
        var stored: StoredValue { StoredValue(bytes: Array(value ?? Data()), revision: mod_revision.value) }
    }

    struct RangeRequest: Encodable {
        var key: Data
        var range_end: Data?
        var limit: Integer?
        var revision: Integer?
    }

    struct RangeResponse: Decodable {
        let header: Header?
        let kvs: [KeyValue]?
        let more: Bool?
    }

    struct PutRequest: Encodable {
        let key: Data
        let value: Data
    }

    struct DeleteRequest: Encodable {
        let key: Data
    }

    struct Operation: Encodable {
        var request_range: RangeRequest?
        var request_put: PutRequest?
        var request_delete_range: DeleteRequest?
    }

    struct Compare: Encodable {
        var target = "MOD"
        var result = "EQUAL"
        let key: Data
        let mod_revision: Integer
    }

    struct TransactionRequest: Encodable {
        let compare: [Compare]
        let success: [Operation]
        let failure: [Operation]
    }

    struct TransactionResponse: Decodable {
        struct Part: Decodable {
            let response_range: RangeResponse?
        }
        let header: Header
        let succeeded: Bool?
        let responses: [Part]?
    }

    struct AuthenticateRequest: Encodable {
        let name: String
        let password: String
    }

    struct AuthenticateResponse: Decodable {
        let token: String
    }

    struct StatusRequest: Encodable {}

    struct StatusResponse: Decodable {
        let version: String?
        let dbSize: Integer?
        /// A uint64: kept as text, "0" or nil when there is no leader.
        let leader: String?
        let errors: [String]?
    }

    struct WatchRequest: Encodable {
        struct Create: Encodable {
            let key: Data
            let range_end: Data
            var progress_notify = true
        }
        let create_request: Create
    }

    /// One line of a watch's answer.
    struct WatchLine: Decodable {
        struct Event: Decodable {}
        struct Result: Decodable {
            let created: Bool?
            let canceled: Bool?
            let compact_revision: Integer?
            let cancel_reason: String?
            let events: [Event]?
        }
        let result: Result?
        let error: Failure?
    }

    /// An error, as unary calls write it (`{"error":"…","code":14}`; etcd 3.6 leaves `error` out) and as streams do
    /// (`{"error":{"grpc_code":14,"message":"…"}}`).
    struct Failure: Decodable {
        let code: Int?
        let message: String

        private enum CodingKeys: String, CodingKey { case code, grpc_code, message, error }

        init(from decoder: any Decoder) throws {
            if let text = try? decoder.singleValueContainer().decode(String.self) {
                (code, message) = (nil, text)
                return
            }
            let container = try decoder.container(keyedBy: CodingKeys.self)
            code =
                try container.decodeIfPresent(Int.self, forKey: .code)
                ?? container.decodeIfPresent(Int.self, forKey: .grpc_code)
            if let message = try container.decodeIfPresent(String.self, forKey: .message) {
                self.message = message
            } else {
                message = try container.decode(String.self, forKey: .error)
            }
        }
    }
}
