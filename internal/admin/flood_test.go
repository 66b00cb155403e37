package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// asker asks for path until its context ends.
type asker struct {
	from      string // its address; "": any
	keepAlive bool
}

func (a asker) client() *http.Client {
	dialer := &net.Dialer{Timeout: generous}
	if a.from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(a.from)}
	}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: !a.keepAlive}}
}

func (a asker) flood(ctx context.Context, url string) {
	client := a.client()
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		_ = get(ctx, client, url)
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return errors.Join(err, response.Body.Close())
}

// Whoever asks seldom is answered at once, however much others ask, and however they do it.
func TestFloodLeavesAnHonestScrapeAlive(t *testing.T) {
	for _, test := range []struct {
		name   string
		floods asker
		many   int
		scrape asker
		within time.Duration
	}{
		{"connections that are kept", asker{keepAlive: true}, 64, asker{}, time.Second},
		{"connections that are kept, and one of the scraper's", asker{keepAlive: true}, 64, asker{keepAlive: true}, 3 * time.Second},
		{"many connections that are kept", asker{keepAlive: true}, 300, asker{}, 5 * time.Second},
		{"a connection for each request", asker{}, 24, asker{}, 3 * time.Second},
		{"more kept connections than there are places, from another address", asker{from: "127.0.0.2", keepAlive: true}, 600, asker{from: "127.0.0.3"}, 3 * time.Second},
		{"connections from another address", asker{from: "127.0.0.2"}, 600, asker{from: "127.0.0.3"}, 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, address := start(t, whole())
			ctx, stop := context.WithCancel(t.Context())
			var floods sync.WaitGroup
			defer floods.Wait()
			defer stop()
			for range test.many {
				floods.Go(func() { test.floods.flood(ctx, "http://"+address+"/healthz") })
			}
			client := test.scrape.client()
			defer client.CloseIdleConnections()
			time.Sleep(2500 * time.Millisecond) // the burst is used up
			for range 3 {
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), generous)
				err := get(ctx, client, "http://"+address+"/metrics")
				cancel()
				if took := time.Since(begun); err != nil || took > test.within {
					t.Errorf("a scrape: %v after %v", err, took)
				}
			}
		})
	}
}
