package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

func (s *Server) failed(deed string, cause any) {
	s.daemon.Failed(fmt.Errorf("%s for admin: panic: %v\n%s", deed, cause, debug.Stack()))
}

// writeJSON answers with value as indented JSON.
func writeJSON(w http.ResponseWriter, code int, value any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		panic(err) // only for NaN, or for a year after 9999
	}
	write(w, code, "application/json", text.Bytes())
}

// writeText answers with a sentence.
func writeText(w http.ResponseWriter, code int, sentence string) {
	write(w, code, "text/plain; charset=utf-8", []byte(sentence+"\n"))
}

func write(w http.ResponseWriter, code int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client may have hung up
}

// status returns the status of the daemon, with the fields that depend on the past.
func (s *Server) status() Status {
	status := s.daemon.Status()
	s.tracker.complete(time.Now(), &status, false)
	return status
}
