package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// ErrNoDaemon says that nobody listens on the admin address.
var ErrNoDaemon = errors.New("no daemon to talk to")

// maxAnswer is more than any answer has.
const maxAnswer = 16 << 20

// A Client asks a daemon. Its methods may be called at once. They wait until their
// context ends, and their errors are sentences for an operator: [ErrNoDaemon] where
// nobody listens, [fs.ErrPermission] for those who may not ask.
//
// It writes its requests itself, which are two lines and a word at most: an http.Client is a
// tenth of the whole program, with HTTP/2, proxies and names in all scripts.
type Client struct{ address string }

// Dial returns a client for the daemon at address, "unix:/path" or "host:port" as
// for [Listen]. It connects with each question, and needs no closing.
func Dial(address string) *Client { return &Client{address} }

// Status asks how the daemon is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	return status, c.ask(ctx, http.MethodGet, "/status", "", &status)
}

// Reload makes the daemon load its configuration again, and waits for its verdict.
// The error tells why there is none; a bad configuration is a verdict.
func (c *Client) Reload(ctx context.Context) (Verdict, error) {
	var verdict Verdict
	return verdict, c.ask(ctx, http.MethodPost, "/reload", "", &verdict)
}

// SetLevel changes the level of the log, until the next reload.
func (c *Client) SetLevel(ctx context.Context, level string) error {
	return c.ask(ctx, http.MethodPost, "/log-level", level, nil)
}

// ask sends one request. An answer in JSON goes into value, whatever its code; one in
// plain text is the reason why there is no JSON, unless none was wanted.
func (c *Client) ask(ctx context.Context, method, path, body string, value any) error {
	network, place, host := "tcp", c.address, c.address
	if path, ok := strings.CutPrefix(c.address, "unix:"); ok {
		network, place, host = "unix", path, "localhost"
	} else if _, _, err := net.SplitHostPort(place); err != nil || strings.ContainsFunc(place, outsideHost) {
		return fmt.Errorf("ask the daemon at %s: want unix:/path or host:port", c.address)
	}
	answer, err := exchange(ctx, network, place, fmt.Sprintf(
		"%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, path, host, len(body), body))
	if err != nil {
		return c.explain(err)
	}
	switch {
	case answer.kind != "application/json":
		if value != nil || answer.code != http.StatusOK {
			return fmt.Errorf("the daemon at %s says: %s", c.address, bytes.TrimSpace(answer.text))
		}
	case value != nil:
		if err := json.Unmarshal(answer.text, value); err != nil {
			return fmt.Errorf("the daemon at %s speaks another version's language: %w; run its own greetd", c.address, err)
		}
	}
	return nil
}

// outsideHost finds what can't be in a Host header.
func outsideHost(r rune) bool { return r <= ' ' || r == '/' || r >= 0x7f }

// A reply is what a daemon says.
type reply struct {
	code int
	kind string // its Content-Type
	text []byte
}

// exchange sends a request and returns the answer.
func exchange(ctx context.Context, network, place, request string) (reply, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, place)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	a, err := converse(conn, request)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return a, err
}

func converse(conn net.Conn, request string) (reply, error) {
	if _, err := io.WriteString(conn, request); err != nil {
		return reply{}, err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	return reply{r.StatusCode, r.Header.Get("Content-Type"), text}, err
}

// explain finds words for a failed conversation.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w at %s: start greetd, or look at systemctl status greetd", ErrNoDaemon, c.address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w at %s: use sudo, or become the service's user", fs.ErrPermission, c.address)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("the daemon at %s does not answer: it may be stopped or stuck; look at systemctl status greetd", c.address)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the daemon at %s hung up before it answered: it may have ended; look at systemctl status greetd", c.address)
	}
	return fmt.Errorf("ask the daemon at %s: %w", c.address, err)
}
