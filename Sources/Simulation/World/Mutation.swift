import Checkpoints
import Handover
import KafkaLog

/// Puts a mutant's mistake where the real code meets the simulated world.
struct Mutation {
    private let mutant: Mutant
    private let world: World

    init(_ mutant: Mutant, world: World) {
        self.mutant = mutant
        self.world = world
    }

    func apply() {
        let world = world
        switch mutant {
        case .noEpochCompare:
            world.server.rewrite = { transaction in
                var changed = transaction
                if transaction.writes.keys.contains(where: { $0.segments.first == "checkpoints" }) {
                    changed.expected = transaction.expected.filter { $0.key.segments.first != "assignments" }
                }
                return changed
            }
        case .offByOne: rewriteCheckpoints { checkpoint, _ in checkpoint.position = Position(checkpoint.position.offset + 1, in: checkpoint.position.cluster) }
        case .latestWitness:
            let checker = world.checker
            rewriteCheckpoints { checkpoint, log in
                checkpoint.witness = log.records.filter { checker.hasEffect($0.event) }.compactMap(\.timestamp).max() ?? checkpoint.witness
                checkpoint.disorder = 0
            }
        case .pendingIgnored:
            let checker = world.checker
            rewriteCheckpoints { checkpoint, log in
                guard let last = log.records.last(where: { checker.hasEffect($0.event) }), last.offset >= checkpoint.position.offset else { return }
                checkpoint.position = Position(last.offset + 1, in: checkpoint.position.cluster)
            }
        case .noFenceWait:
            rewriteAssignments { assignment in assignment.fenceMilliseconds = 0 }
        case .sealEarly:
            let server = world.server
            let key = AssignmentKey(group: World.group, origin: world.scenario.origin).storeKey
            rewriteCheckpoints { checkpoint, _ in
                guard let value = server.entries[key], let assignment = try? Assignment(decoding: value.bytes),
                    case .draining = assignment.phase
                else { return }
                checkpoint.sealed = true
            }
        case .staleReads: world.server.keepsPast = true
        case .lossyMirror: for mirror in world.mirrors { mirror.loses = 0.01 }
        case .acknowledgeFirst, .noneAsEnd, .rewindWhenAmbiguous, .pauseForgotten: break
        }
    }

    private func rewriteCheckpoints(_ change: @escaping (inout Checkpoint, PartitionLog) -> Void) {
        let clusters = Array(world.clusters.values)
        world.server.rewrite = { transaction in
            var changed = transaction
            for (key, write) in transaction.writes where key.segments.first == "checkpoints" {
                guard case .put(let bytes) = write, var checkpoint = try? CheckpointCodec.decode(bytes), let number = Int32(key.segments[3]),
                    let log = clusters.first(where: { $0.id == checkpoint.position.cluster })?.logs[TopicPartition(topic: key.segments[2], partition: number)]
                else { continue }
                change(&checkpoint, log)
                changed.writes[key] = .put(CheckpointCodec.encode(checkpoint))
            }
            return changed
        }
    }

    private func rewriteAssignments(_ change: @escaping (inout Assignment) -> Void) {
        world.server.rewrite = { transaction in
            var changed = transaction
            for (key, write) in transaction.writes where key.segments.first == "assignments" {
                guard case .put(let bytes) = write, var assignment = try? Assignment(decoding: bytes) else { continue }
                change(&assignment)
                changed.writes[key] = .put(assignment.encoded())
            }
            return changed
        }
    }
}
