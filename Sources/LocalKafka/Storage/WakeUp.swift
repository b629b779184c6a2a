import NIOCore
import Synchronization

/// Lets one task wait until something changes, with a timeout. A signal that comes before the wait is not lost.
final class WakeUp: Sendable {
    private enum State {
        case quiet
        case signalled
        case waiting(CheckedContinuation<Void, Never>)
    }
    private let state = Mutex(State.quiet)

    func signal() {
        let waiting: CheckedContinuation<Void, Never>? = state.withLock { state in
            switch state {
            case .quiet, .signalled:
                state = .signalled
                return nil
            case .waiting(let continuation):
                state = .quiet
                return continuation
            }
        }
        waiting?.resume()
    }

    /// Returns at the next signal, after `timeout`, or when the task is cancelled. One task at a time may wait.
    func wait(timeout: Duration, on loop: any EventLoop) async {
        let timer = loop.scheduleTask(in: TimeAmount(timeout)) { self.signal() }
        defer { timer.cancel() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isSignalled = state.withLock { state in
                    if case .signalled = state {
                        state = .quiet
                        return true
                    }
                    state = .waiting(continuation)
                    return false
                }
                if isSignalled { continuation.resume() }
            }
        } onCancel: {
            signal()
        }
    }
}
