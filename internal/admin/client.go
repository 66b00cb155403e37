package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// ErrNoDaemon means that no daemon listens on the admin address.
var ErrNoDaemon = errors.New("no daemon to talk to")

// ErrProtected means that the daemon requires TLS or a password on this TCP address. The commands of
// greetd support neither.
var ErrProtected = errors.New("asks for TLS, a certificate or a password (admin.web_config_file): greetd's commands use its unix socket " +
	"(admin.address, or RuntimeDirectory= of a unit); to look only, curl can ask for /status")

// maxAnswer is the maximum number of bytes to read of an answer, more than any answer has.
const maxAnswer = 16 << 20

// A Client sends requests to the admin address of a daemon. Its methods may be called concurrently. They
// wait at most until their context is done. Their errors are sentences for an operator: [ErrNoDaemon] if no
// daemon listens there, [fs.ErrPermission] if the user has no permission.
type Client struct {
	Unit string // the unit of the daemon, for the advice in errors; "": greetd

	address string
	host    string // of the URL
	http    http.Client
}

// Dial returns a client for the daemon at address, "unix:/path" or "host:port" as for [Listen]. The client
// connects for each request, and need not be closed.
func Dial(address string) *Client {
	c := &Client{address: address, host: address}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		c.host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	c.http.Transport = transport
	return c
}

// Address returns the address of the daemon.
func (c *Client) Address() string { return c.address }

// Status returns the status of the daemon.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	return status, c.ask(ctx, http.MethodGet, "/status", "", &status)
}

// Reload makes the daemon reload its configuration, and waits for the result. If the configuration is not
// valid, the result says so. An error means that there is no result.
func (c *Client) Reload(ctx context.Context) (ReloadResult, error) {
	var result ReloadResult
	return result, c.ask(ctx, http.MethodPost, "/reload", "", &result)
}

// SetLevel changes the level of the log, until the next reload.
func (c *Client) SetLevel(ctx context.Context, level string) error {
	return c.ask(ctx, http.MethodPost, "/log-level", level, nil)
}

// ask sends one request. It decodes an answer in JSON into value, whatever its status code. If value is
// not nil, an answer in plain text is the reason for an error. If value is nil, it is one unless its
// status code is 200.
func (c *Client) ask(ctx context.Context, method, path, body string, value any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.host+path, strings.NewReader(body))
	if _, _, splitErr := net.SplitHostPort(c.address); err != nil || c.host == c.address && splitErr != nil {
		return fmt.Errorf("ask the daemon at %s: want unix:/path or host:port", c.address)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return c.explain(err)
	}
	switch {
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusBadRequest && bytes.Contains(text, []byte("HTTPS server")):
		return fmt.Errorf("the daemon at %s %w", c.address, ErrProtected)
	case answer.Header.Get("Content-Type") != "application/json":
		if value != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the daemon at %s says: %s", c.address, bytes.TrimSpace(text))
		}
	case value != nil:
		if err := json.Unmarshal(text, value); err != nil {
			return fmt.Errorf("the daemon at %s gave an answer of another version: %w; run the greetd program of that daemon", c.address, err)
		}
	}
	return nil
}

// explain returns err, the error of a failed request, as a sentence with a remedy.
func (c *Client) explain(err error) error {
	unit := cmp.Or(c.Unit, "greetd")
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w at %s: start %s, or look at systemctl status %s", ErrNoDaemon, c.address, unit, unit)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w at %s: use sudo, or become the service's user", fs.ErrPermission, c.address)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("the daemon at %s does not answer: it may be stopped or stuck; look at systemctl status %s", c.address, unit)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the daemon at %s hung up before it answered: it may have ended; look at systemctl status %s", c.address, unit)
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err // without method and URL
	}
	return fmt.Errorf("ask the daemon at %s: %w", c.address, err)
}
