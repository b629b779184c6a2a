import Checkpoints
import KafkaLog
import Logging

/// How a group's worker ends.
extension GroupWorker {
    /// Finishes what runs within the drain timeout, writes what is done, and leaves the group.
    func shutDown() async {
        logger.info("Stopping: finishing what runs", metadata: ["running": "\(runningActions)"])
        isStopping = true
        for partition in partitions.keys { partitions[partition]?.stopBeginning(.revoking) }
        let deadline = clock.monotonic() &+ setup.drainTimeout.nanoseconds
        while runningActions > 0, clock.monotonic() < deadline {
            // The group must see this worker live, and stage changes are over: events are only looked at for revocations.
            do { _ = try await consumer.nextEvent(max: 1, within: .milliseconds(20)) } catch {
                // A client that is broken for good answers at once, again and again.
                do { try await clock.sleep(.milliseconds(20)) } catch { break }
            }
        }
        if runningActions > 0 {
            logger.warning("The drain timeout ended before all actions did; they will be repeated", metadata: ["running": "\(runningActions)"])
        }
        for action in actionTasks.values { action.task.cancel() }
        let all = Set(partitions.keys)
        await flushClaims()
        await writeCheckpoints(of: all)
        await publishResumeReports()
        await commit(all, wait: true)
        do { try await consumer.close(within: .seconds(10)) } catch {
            logger.warning("The consumer did not close in time", metadata: ["error": "\(error)"])
        }
        logger.info("Stopped", metadata: ["acted": "\(counts.acted)", "skipped": "\(counts.skipped)"])
    }
}
