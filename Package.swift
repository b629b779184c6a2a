// swift-tools-version: 6.2
import PackageDescription

// One target per concern; arrows point down only (Docs/Design.md, "Rooms").
let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
]

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "Metrics", package: "swift-metrics")
let httpClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")

let package = Package(
    name: "switchback",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "switchback", targets: ["Switchback"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/onevcat/Rainbow", from: "4.2.2"),
        .package(url: "https://github.com/ordo-one/TextTable", from: "0.0.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.11.0"),
    ],
    targets: [
        .systemLibrary(name: "CRdKafka", pkgConfig: "rdkafka", providers: [.apt(["librdkafka-dev"])]),
        .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
        .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CHiredis", pkgConfig: "hiredis", providers: [.apt(["libhiredis-dev"])]),
        .target(name: "CSimdJSON", cxxSettings: [.unsafeFlags(["-O2"])], linkerSettings: [.linkedLibrary("simdjson")]),
        .target(name: "CCRC32C", cSettings: [.unsafeFlags(["-O2"])]),
        .target(
            name: "KafkaLog",
            dependencies: ["CRdKafka", logging, metrics],
            swiftSettings: strict),
        .target(
            name: "Checkpoints",
            dependencies: [
                "KafkaLog", "CXXHash", logging, metrics, httpClient, nioCore, nioPosix, nioHTTP1, nioSSL,
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(name: "Handover", dependencies: ["Checkpoints", "KafkaLog", logging], swiftSettings: strict),
        .target(
            name: "ChangePropagation",
            dependencies: [
                "Handover", "Checkpoints", "KafkaLog", "CCurl", "CHiredis", "CPCRE2", "CSimdJSON", "Yams", nioCore, nioPosix, logging, metrics,
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict),
        .target(
            name: "LocalKafka",
            dependencies: ["CCRC32C", nioCore, nioPosix, logging],
            swiftSettings: strict),
        .target(
            name: "Mirror",
            dependencies: ["KafkaLog", "Checkpoints", logging, metrics],
            swiftSettings: strict),
        .target(
            name: "Demo",
            dependencies: [
                "KafkaLog", "Checkpoints", "Handover", "ChangePropagation", logging, "Rainbow",
                .product(name: "TextTable", package: "TextTable"),
                .product(name: "Hummingbird", package: "hummingbird"),
            ],
            swiftSettings: strict),
        .target(
            name: "Offsets", dependencies: ["ChangePropagation", "Handover", "Checkpoints", "KafkaLog", logging], swiftSettings: strict),
        .target(
            name: "Drill",
            dependencies: ["Demo", "ChangePropagation", "Handover", "Checkpoints", "KafkaLog", logging, httpClient, nioCore],
            swiftSettings: strict),
        .executableTarget(
            name: "Switchback",
            dependencies: [
                "Drill", "Offsets", "Demo", "Mirror", "LocalKafka", "ChangePropagation", "Handover", "Checkpoints", "KafkaLog", logging, "Rainbow",
                .product(name: "TextTable", package: "TextTable"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .target(
            name: "Simulation",
            dependencies: [
                "ChangePropagation", "Handover", "Checkpoints", "KafkaLog", logging,
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "Simulate",
            dependencies: ["Simulation", logging, "Rainbow", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: strict),
        .target(name: "CBaseline", dependencies: ["CRdKafka", "CCurl"], cSettings: [.unsafeFlags(["-O2"])]),
        .executableTarget(
            name: "Bench",
            dependencies: [
                "CBaseline", "CSimdJSON", "KafkaLog", "LocalKafka", "Demo", "Mirror", "ChangePropagation", "Handover", "Checkpoints", logging, nioPosix,
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .target(name: "TestSupport", dependencies: ["LocalKafka", "KafkaLog"], path: "Tests/TestSupport", swiftSettings: strict),
        // A program of its own, since it counts its allocations: no test is linked to that.
        .target(name: "CAllocations", path: "Tests/CAllocations"),
        .executableTarget(name: "AllocationProbe", dependencies: ["CAllocations", "KafkaLog"], path: "Tests/AllocationProbe", swiftSettings: strict),
        .testTarget(name: "KafkaLogTests", dependencies: ["KafkaLog", "LocalKafka", "TestSupport", logging], swiftSettings: strict),
        .testTarget(
            name: "CheckpointsTests",
            dependencies: [
                "Checkpoints", "KafkaLog", "TestSupport", logging, httpClient, nioCore, nioPosix,
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "HandoverTests", dependencies: ["Handover", "Checkpoints", "KafkaLog", "TestSupport", logging], swiftSettings: strict),
        .testTarget(
            name: "ChangePropagationTests",
            dependencies: ["ChangePropagation", "Checkpoints", "Handover", "KafkaLog", "LocalKafka", "TestSupport", logging, nioCore, nioPosix],
            swiftSettings: strict),
        .testTarget(name: "LocalKafkaTests", dependencies: ["LocalKafka", "TestSupport", logging, nioCore], swiftSettings: strict),
        .testTarget(name: "MirrorTests", dependencies: ["Mirror", "LocalKafka", "KafkaLog", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "OffsetsTests",
            dependencies: ["Offsets", "ChangePropagation", "Handover", "Checkpoints", "LocalKafka", "KafkaLog", "TestSupport", logging], swiftSettings: strict),
        .testTarget(
            name: "DrillTests",
            dependencies: ["Drill", "Demo", "LocalKafka", "Handover", "Checkpoints", "KafkaLog", "TestSupport", logging],
            exclude: ["Golden"], swiftSettings: strict),
        .testTarget(name: "SwitchbackTests", dependencies: ["Handover", "KafkaLog", "Checkpoints", "LocalKafka", "TestSupport", logging], swiftSettings: strict),
        .testTarget(name: "BenchTests", dependencies: ["Bench", "Demo", "KafkaLog", "LocalKafka", "TestSupport"], swiftSettings: strict),
        .testTarget(name: "SimulationTests", dependencies: ["Simulate", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests",
            dependencies: ["Demo", "Mirror", "LocalKafka", "ChangePropagation", "Handover", "Checkpoints", "KafkaLog", "TestSupport"],
            swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx17
)
