import Checkpoints
import KafkaLog

/// A resume of one partition that is only thought through: the resume rule's own machine, fed with lookups and records, acting on nothing.
struct PlannedResume {
    /// What it wants next.
    enum Need: Hashable {
        case lookUp(MillisecondTimestamp)
        /// Records from here up to the log's end as it was when planning began.
        case read(from: Int64)
        case nothing
    }

    private(set) var planner: ResumePlanner
    private(set) var need: Need = .nothing
    private(set) var gap: GapEvent?
    private(set) var refusal: ResumeRefusal?
    /// The log's end was reached and the checkpoint's tail was not there: a take-over would wait for the mirror first.
    private(set) var waitsForMirror = false
    /// It would wait without end: the tail of a sealed checkpoint has to come.
    private(set) var waitsForever = false

    init(
        checkpoint: Checkpoint?, log: ResumePlanner.Log, committed: ResumePlanner.Committed?, anchor: ResumePlanner.Anchor?, identity: String,
        settings: ResumePlanner.Settings
    ) {
        var settings = settings
        settings.waitsForTail = checkpoint?.sealed == true
        planner = ResumePlanner(checkpoint: checkpoint, log: log, settings: settings)
        do throws(ResumeRefusal) { follow(try planner.begin(committed: committed, identity: identity, anchor: anchor)) } catch { refusal = error }
    }

    private mutating func follow(_ step: ResumePlanner.Step) {
        gap = planner.takeGap() ?? gap
        if case .acting = planner.phase { need = .nothing } else {
            switch step {
            case .lookUp(let time): need = .lookUp(time)
            case .read(let from): need = .read(from: from)
            }
        }
    }

    /// Offsets as for `ResumePlanner.lookedUp`.
    mutating func lookedUp(_ found: Int64?, firstTimed: Int64?) { follow(planner.lookedUp(found, firstTimed: firstTimed)) }

    /// Whether it wants more records.
    mutating func see(_ record: RecordMark) -> Bool {
        switch planner.see(offset: record.offset, fingerprint: record.fingerprint, timestamp: record.timestamp, now: 0) {
        case .scanned:
            guard case .acting = planner.phase else { return record.offset + 1 < planner.log.highWatermark }
            need = .nothing
            return false
        case .act, .alreadyDone:
            need = .nothing
            return false
        case .restart(let step, let gap):
            self.gap = gap ?? self.gap
            follow(step)
            return false
        }
    }

    /// All that it wanted to read has been read, and the need is still the same.
    mutating func reachedEnd() {
        // Once for the end, once for the hold that has run out: what it would do then is what the plan shows.
        for now in [0, planner.settings.hold &+ 1] {
            guard let verdict = planner.reachedEnd(now: now) else {
                if case .scanning(holding: true) = planner.phase { waitsForMirror = true }
                continue
            }
            if case .restart(let step, let gap) = verdict {
                self.gap = gap ?? self.gap
                return follow(step)
            }
        }
        waitsForever = true
        need = .nothing
    }
}
