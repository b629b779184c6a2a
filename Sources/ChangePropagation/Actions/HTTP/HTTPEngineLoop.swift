import CCurl
import Glibc

/// What the engine's thread does and has: nobody else touches it.
final class HTTPEngineLoop {
    /// Sockets looked at in one go: whoever waits for those goes on while the next are looked at.
    private static let batch = 64
    /// Those that wait for a slot are looked through so often, in milliseconds.
    private static let patience = 50

    /// Set in `watched` while libcurl has the socket not in use.
    private static let unused: UInt32 = 1 << 31

    private let limits: HTTPEngine.Limits
    private let wake: Int32
    private let connections: () -> Int
    private let multi = curl_multi_init()
    private let poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    /// What epoll waits for on each socket. libcurl forgets one with each answer and comes back to it with the next request; in between it stays here.
    private var watched: [curl_socket_t: UInt32] = [:]
    /// The sockets that were opened for connections. libcurl has others, such as a pair for each name that it looks up, which it closes without a word: the
    /// next socket has their number, and epoll knows nothing of it.
    private var ours: Set<curl_socket_t> = []
    private var running: [ObjectIdentifier: HTTPTransfer] = [:]
    private var waiting: ArraySlice<HTTPEngine.Start> = []
    /// Connections that libcurl keeps, at most.
    private var kept = 0
    /// When libcurl wants to be called, whatever the sockets say; nil: not at all.
    private var alarm: ContinuousClock.Instant?

    init(limits: HTTPEngine.Limits, wake: Int32, connections: @escaping () -> Int) {
        self.limits = limits
        self.wake = wake
        self.connections = connections
        switchback_multi_set_callbacks(multi, Self.onSocket, Self.onTimer, Unmanaged.passUnretained(self).toOpaque())
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data(fd: wake))
        epoll_ctl(poll, EPOLL_CTL_ADD, wake, &event)
    }

    deinit { close(poll) }

    /// - Parameter take: gives what has been asked for since the last time, in the array that it is given; nil: that was all.
    func run(_ take: ([HTTPEngine.Command]) -> [HTTPEngine.Command]?) {
        var events = [epoll_event](repeating: epoll_event(), count: Self.batch)
        var commands: [HTTPEngine.Command] = []
        while let taken = take(commands) {
            commands = taken
            for command in commands {
                switch command {
                case .start(let start): begin(start)
                case .cancel(let ticket): cancel(ticket)
                }
            }
            keepConnections()
            startWaiting()
            // What came meanwhile came without a wake-up, so nothing may be slept through.
            look(&events, atMost: commands.isEmpty ? pause() : 0)
        }
        for transfer in running.values { end(transfer) { $0.finish(.interrupted) } }
        for start in waiting { start.done.resume(returning: .interrupted) }
        // Closes the connections, which `onClose` hears of.
        curl_multi_cleanup(multi)
    }

    /// By itself libcurl keeps four times as many connections as exchanges run at the moment: where few run for a moment, it would close most, and
    /// open them again.
    private func keepConnections() {
        let wanted = connections()
        guard wanted != kept else { return }
        kept = wanted
        switchback_multi_set(multi, CURLMOPT_MAXCONNECTS, wanted)
    }

    // MARK: Beginning and ending

    private func begin(_ start: HTTPEngine.Start) {
        if waiting.isEmpty, running.count < connections() { launch(start) } else { waiting.append(start) }
    }

    /// Those for which there is a slot now. No one waits for one longer than for a connection: its request would leave too late.
    private func startWaiting() {
        while running.count < connections(), let start = waiting.popFirst() { launch(start) }
        guard !waiting.isEmpty else { return }
        let now = ContinuousClock.now
        waiting = waiting.filter { start in
            if start.ticket.isCancelled.load(ordering: .sequentiallyConsistent) {
                start.done.resume(returning: .interrupted)
                return false
            }
            guard start.at.duration(to: now) >= min(.milliseconds(limits.connectTimeout), start.exchange.timeout) else { return true }
            start.done.resume(returning: .timeout)
            return false
        }[...]
    }

    private func launch(_ start: HTTPEngine.Start) {
        guard !start.ticket.isCancelled.load(ordering: .sequentiallyConsistent) else { return start.done.resume(returning: .interrupted) }
        let left = HTTPEngine.Limits.milliseconds(start.exchange.timeout - start.at.duration(to: .now))
        guard let multi, let transfer = HTTPTransfer(start, limits: limits, timeoutLeft: left, sockets: (Self.onOpen, Self.onClose), user: Unmanaged.passUnretained(self).toOpaque()) else {
            return start.done.resume(returning: .connection("libcurl can't be started: out of memory"))
        }
        let code = curl_multi_add_handle(multi, transfer.easy)
        guard code == CURLM_OK else {
            return transfer.finish(.connection(String(cString: curl_multi_strerror(code))))
        }
        running[ObjectIdentifier(start.ticket)] = transfer
    }

    private func cancel(_ ticket: HTTPEngine.Ticket) {
        guard let transfer = running[ObjectIdentifier(ticket)] else { return }
        end(transfer) { $0.finish(.interrupted) }
    }

    private func end(_ transfer: HTTPTransfer, _ finish: (HTTPTransfer) -> Void) {
        curl_multi_remove_handle(multi, transfer.easy)
        running[ObjectIdentifier(transfer.ticket)] = nil
        finish(transfer)
    }

    private func collect() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle, let user = switchback_easy_user(easy) else { continue }
            let code = message.pointee.data.result
            end(Unmanaged<HTTPTransfer>.fromOpaque(user).takeUnretainedValue()) { $0.finish(code) }
        }
    }

    // MARK: Sockets and time

    /// Milliseconds; −1: until something happens.
    private func pause() -> Int {
        let bound = waiting.isEmpty ? -1 : Self.patience
        guard let alarm else { return bound }
        // Rounded up: a little early would be for nothing.
        let left = max(0, Int((ContinuousClock.now.duration(to: alarm) / .milliseconds(1)).rounded(.up)))
        return bound < 0 ? min(left, 60_000) : min(left, bound)
    }

    private func look(_ events: inout [epoll_event], atMost milliseconds: Int) {
        let count = Int(epoll_wait(poll, &events, Int32(Self.batch), Int32(milliseconds)))
        var still: Int32 = 0
        for event in events.prefix(max(0, count)) {
            guard event.data.fd != wake else {
                var value: UInt64 = 0
                _ = read(wake, &value, 8)
                continue
            }
            guard let wanted = watched[event.data.fd], wanted & Self.unused == 0 else {
                // The other side closes a connection that nobody uses; libcurl finds that when it wants it again.
                watched[event.data.fd] = nil
                epoll_ctl(poll, EPOLL_CTL_DEL, event.data.fd, nil)
                continue
            }
            var flags: Int32 = 0
            if event.events & EPOLLIN.rawValue != 0 { flags |= CURL_CSELECT_IN }
            if event.events & EPOLLOUT.rawValue != 0 { flags |= CURL_CSELECT_OUT }
            if event.events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0 { flags |= CURL_CSELECT_ERR }
            curl_multi_socket_action(multi, event.data.fd, flags, &still)
        }
        if let due = alarm, due <= .now {
            alarm = nil
            curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &still)
        }
        collect()
    }

    private static func of(_ user: UnsafeMutableRawPointer?) -> HTTPEngineLoop? {
        user.map { Unmanaged<HTTPEngineLoop>.fromOpaque($0).takeUnretainedValue() }
    }

    private static let onSocket:
        @convention(c) (UnsafeMutableRawPointer?, curl_socket_t, Int32, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32 = {
            _, socket, what, user, _ in
            HTTPEngineLoop.of(user)?.watch(socket, what) ?? -1
        }

    private func watch(_ socket: curl_socket_t, _ what: Int32) -> Int32 {
        guard what != CURL_POLL_REMOVE else {
            guard ours.contains(socket) else {
                if watched.removeValue(forKey: socket) != nil { epoll_ctl(poll, EPOLL_CTL_DEL, socket, nil) }
                return 0
            }
            // It is likely wanted again; an event that comes before that takes it out (`look`).
            if let wanted = watched[socket] { watched[socket] = wanted | Self.unused }
            return 0
        }
        var wanted: UInt32 = 0
        if what & CURL_POLL_IN != 0 { wanted |= EPOLLIN.rawValue }
        if what & CURL_POLL_OUT != 0 { wanted |= EPOLLOUT.rawValue }
        let known = watched.updateValue(wanted, forKey: socket)
        if let known, known & ~Self.unused == wanted { return 0 }
        var event = epoll_event(events: wanted, data: epoll_data(fd: socket))
        // Anything but 0 would end the whole engine, not this one exchange; its timeout does that.
        if epoll_ctl(poll, known == nil ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event) != 0 { watched[socket] = nil }
        return 0
    }

    /// libcurl wants a socket for a connection.
    private static let onOpen:
        @convention(c) (UnsafeMutableRawPointer?, curlsocktype, UnsafeMutablePointer<curl_sockaddr>?) -> curl_socket_t = { user, _, address in
            guard let loop = HTTPEngineLoop.of(user), let address = address?.pointee else { return CURL_SOCKET_BAD }
            let opened = socket(address.family, address.socktype | Int32(SOCK_CLOEXEC.rawValue), address.`protocol`)
            if opened >= 0 { loop.ours.insert(opened) }
            return opened
        }

    /// libcurl closes a socket.
    private static let onClose: @convention(c) (UnsafeMutableRawPointer?, curl_socket_t) -> Int32 = { user, socket in
        if let loop = HTTPEngineLoop.of(user) {
            loop.watched[socket] = nil
            loop.ours.remove(socket)
        }
        return close(socket)
    }

    private static let onTimer: @convention(c) (UnsafeMutableRawPointer?, Int, UnsafeMutableRawPointer?) -> Int32 = { _, milliseconds, user in
        guard let loop = HTTPEngineLoop.of(user) else { return -1 }
        loop.alarm = milliseconds < 0 ? nil : .now + .milliseconds(milliseconds)
        return 0
    }
}
