import KafkaLog

/// Reads no faster than actions begin.
extension GroupWorker {
    /// How many actions of the group run at once.
    var slots: Int { rules.map(\.concurrency).max() ?? 1 }

    /// Returns when jobs enough have begun, or after a while.
    func waitForSlots() async {
        // With slots free, what waits waits for something else: a lane, a lease, a time.
        let waiting = runningActions < slots ? 0 : partitions.waiting
        guard readAhead.mustWait(waiting: waiting, slots: slots) else { return }
        let round = readAhead.round
        await withCheckedContinuation { continuation in
            readAhead.waiter = continuation
            Task {
                try? await clock.sleep(ReadAhead.patience)
                if readAhead.round == round { readAhead.takeWaiter()?.resume() }
            }
        }
    }

    /// Pauses partitions that have too much, and lets those read on that have room.
    func adjustPauses() async {
        var pause: [TopicPartition] = [], resume: [TopicPartition] = []
        // While slots stay busy, only those read on that have nearly nothing left to begin.
        let share = readAhead.isCongested ? max(8, ReadAhead.target(slots: slots) / max(1, partitions.count)) : .max
        for (partition, work) in partitions {
            let wantsRecords = work.stage == .reading || work.stage == .following && standbys[partition]?.follower.wantsRecords == true
            if !work.isPaused, !wantsRecords || work.isOverfull || work.waiting.count >= share { pause.append(partition) }
            if work.isPaused, wantsRecords, work.hasRoom, work.waiting.count <= share / 2 { resume.append(partition) }
        }
        do {
            if !pause.isEmpty {
                try await consumer.pause(pause)
                for partition in pause { partitions[partition]?.isPaused = true }
                activate(pause.filter { mayTake($0) })
            }
            if !resume.isEmpty {
                try await consumer.resume(resume)
                for partition in resume { partitions[partition]?.isPaused = false }
            }
        } catch {
            logger.warning("Pausing or resuming failed; trying again", metadata: ["error": "\(error)"])
        }
    }
}
