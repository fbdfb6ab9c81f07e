package devvault

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// version is what the flavor calls itself.
func (f Flavor) version() string {
	switch f {
	case Community:
		return "1.21.0"
	case OpenBao:
		return "2.6.2"
	}
	return "1.21.0+ent"
}

func (s *Server) healthLocked(r *request) (*response, error) {
	if r.op != opRead && r.op != opNone {
		return nil, &fault{status: http.StatusMethodNotAllowed}
	}
	return &response{raw: struct {
		Initialized   bool   `json:"initialized"`
		Sealed        bool   `json:"sealed"`
		Standby       bool   `json:"standby"`
		PerfStandby   bool   `json:"performance_standby"`
		PerfMode      string `json:"replication_performance_mode"`
		DRMode        string `json:"replication_dr_mode"`
		ServerTime    int64  `json:"server_time_utc"`
		Version       string `json:"version"`
		Enterprise    bool   `json:"enterprise"`
		ClusterName   string `json:"cluster_name"`
		ClusterID     string `json:"cluster_id"`
		EchoDuration  int    `json:"echo_duration_ms"`
		ClockSkew     int    `json:"clock_skew_ms"`
		CanaryAgeMS   int    `json:"replication_primary_canary_age_ms"`
		RemovedFromHA bool   `json:"removed_from_cluster,omitempty"`
	}{
		Initialized: true, PerfMode: "disabled", DRMode: "disabled", ServerTime: s.now().Unix(),
		Version: s.cfg.Flavor.version(), Enterprise: s.cfg.Flavor == Enterprise, ClusterName: s.clusters[1], ClusterID: s.clusters[0],
	}}, nil
}

func (s *Server) sealStatusLocked(r *request) (*response, error) {
	if r.op != opRead && r.op != opNone {
		return nil, &fault{status: http.StatusMethodNotAllowed}
	}
	return &response{raw: struct {
		Type         string `json:"type"`
		Initialized  bool   `json:"initialized"`
		Sealed       bool   `json:"sealed"`
		T            int    `json:"t"`
		N            int    `json:"n"`
		Progress     int    `json:"progress"`
		Nonce        string `json:"nonce"`
		Version      string `json:"version"`
		BuildDate    string `json:"build_date"`
		Migration    bool   `json:"migration"`
		ClusterName  string `json:"cluster_name"`
		ClusterID    string `json:"cluster_id"`
		RecoverySeal bool   `json:"recovery_seal"`
		StorageType  string `json:"storage_type"`
	}{
		Type: "shamir", Initialized: true, T: 1, N: 1, Version: s.cfg.Flavor.version(), BuildDate: "2025-10-21T00:00:00Z",
		ClusterName: s.clusters[1], ClusterID: s.clusters[0], StorageType: "inmem",
	}}, nil
}

// leaderLocked is what `vault status` asks after the seal.
func (s *Server) leaderLocked(r *request) (*response, error) {
	if r.op != opRead && r.op != opNone {
		return nil, &fault{status: http.StatusMethodNotAllowed}
	}
	return &response{raw: struct {
		HAEnabled          bool   `json:"ha_enabled"`
		IsSelf             bool   `json:"is_self"`
		ActiveTime         string `json:"active_time"`
		LeaderAddress      string `json:"leader_address"`
		ClusterAddress     string `json:"leader_cluster_address"`
		PerfStandby        bool   `json:"performance_standby"`
		PerfStandbyLastWAL int    `json:"performance_standby_last_remote_wal"`
	}{ActiveTime: "0001-01-01T00:00:00Z"}}, nil
}

func (s *Server) systemLocked(r *request, rest string) (*response, error) {
	switch {
	case strings.HasPrefix(rest, "control-group/"):
		return s.controlGroupLocked(r, rest)
	case rest == "capabilities-self" && r.op == opUpdate:
		return s.capabilitiesLocked(r)
	case rest == "monitor" && r.op == opRead:
		return &response{stream: s.monitor}, nil
	case rest == "wrapping/wrap" && r.op == opUpdate:
		if r.wrap == 0 {
			return nil, refuse(http.StatusBadRequest, textWrapRequired)
		}
		return &response{data: r.data, mountType: "system"}, nil
	case rest == "capabilities-self" || rest == "monitor" || rest == "wrapping/wrap":
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	default:
		return nil, refuse(http.StatusNotFound, textNoPath)
	}
}

// capabilitiesLocked tells what a token may do. It neither names nor enforces
// mfa_methods, which is how a client can tell a second factor from a denial.
func (s *Server) capabilitiesLocked(r *request) (*response, error) {
	paths := r.list("paths")
	if len(paths) == 0 {
		paths = r.list("path")
	}
	if len(paths) == 0 {
		return nil, refuse(http.StatusBadRequest, textNoPaths)
	}
	a := s.aclLocked(r.token)
	resp := &response{mountType: "system", data: make(map[string]any)}
	for _, path := range paths {
		words := []string{"root"}
		if !a.root {
			// As for a list, to which a rule without the slash applies too.
			words = a.lookup(r.ns.path+strings.TrimLeft(path, "/"), true).words()
		}
		if resp.data[path] == nil {
			resp.top = append(resp.top, path)
		}
		resp.data[path] = words
		if len(paths) == 1 {
			resp.data["capabilities"] = words
			resp.top = append(resp.top, "capabilities")
		}
	}
	return resp, nil
}

// monitor streams log lines until the client leaves or the Server closes.
func (s *Server) monitor(w http.ResponseWriter, r *request) {
	lines, leave := s.monitors.join()
	defer leave()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	for {
		// Headers go out at once; a client sees that it is connected.
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case line := <-lines:
			if _, err := io.WriteString(w, line); err != nil {
				return
			}
		case <-r.ctx.Done():
			return
		case <-s.done:
			return
		}
	}
}

// EmitLog writes a line to every client of sys/monitor. A client that reads too
// slowly misses lines, as with Vault.
func (s *Server) EmitLog(line string) { s.monitors.emit(line) }

// Monitors is how many clients read sys/monitor now.
func (s *Server) Monitors() int {
	s.monitors.Lock()
	defer s.monitors.Unlock()
	return len(s.monitors.clients)
}

const monitorBuffer = 512 // lines, as Vault

// monitors is the clients of sys/monitor.
type monitors struct {
	sync.Mutex
	clients map[chan string]struct{}
}

func (m *monitors) join() (lines <-chan string, leave func()) {
	c := make(chan string, monitorBuffer)
	m.Lock()
	defer m.Unlock()
	if m.clients == nil {
		m.clients = make(map[chan string]struct{})
	}
	m.clients[c] = struct{}{}
	return c, func() {
		m.Lock()
		defer m.Unlock()
		delete(m.clients, c)
	}
}

func (m *monitors) emit(line string) {
	line = time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + " " + line + "\n"
	m.Lock()
	defer m.Unlock()
	for c := range m.clients {
		select {
		case c <- line:
		default:
		}
	}
}
