package daemon

import (
	"context"
	"fmt"
	"time"

	"greetd.example/internal/certificate"
	"greetd.example/internal/logging"
	"greetd.example/internal/words"
)

const (
	// expiryWarning is the remaining lifetime below which a certificate is reported, once in each
	// expiryInterval. Tools that renew certificates by themselves, such as certbot, do so earlier.
	expiryWarning  = 21 * 24 * time.Hour
	expiryInterval = 24 * time.Hour
)

// followCertificates serves renewed certificates, and warns before a certificate expires.
func (d *daemon) followCertificates(ctx context.Context) {
	expiry := make(expiryWarnings)
	certificate.Follow(ctx, func() []*certificate.Pair { return d.inForce().settings.AllCertificates() }, d.newCertificates, certificate.Hooks{
		Renewed: d.logRenewed,
		Failed:  d.logRefused,
		Checked: func(p *certificate.Pair) {
			if expiry.due(p.Listener, p.Served().NotAfter, time.Now()) {
				d.logExpiry(p)
			}
		},
	})
}

func (d *daemon) logRenewed(p *certificate.Pair) {
	d.log.Event(logging.CertificateRenewed, fmt.Sprintf("certificate of listener %s renewed: valid until %s", p.Listener, utc(p.Served().NotAfter)),
		certificateFields(p)...)
}

func (d *daemon) logRefused(p *certificate.Pair, err error) {
	d.log.Event(logging.CertificateRefused, fmt.Sprintf(
		"renewed certificate of listener %s can't be used, keeping the previous one: %v; greetd tries again", p.Listener, err),
		append(certificateFields(p), logging.F("error", err))...)
}

func (d *daemon) logExpiry(p *certificate.Pair) {
	end, remedy := p.Served().NotAfter, "renew it; greetd serves the renewed files by itself"
	if p.IsCredential() {
		remedy = "renew it, and restart the unit, since systemd passes a credential at the start only; from systemd 260 on, RefreshOnReload=credentials makes a reload enough"
	}
	when := fmt.Sprintf("expires in %s, at %s", words.Left(time.Until(end)), utc(end))
	if time.Until(end) <= 0 {
		when = "expired at " + utc(end)
	}
	d.log.Event(logging.CertificateExpires, fmt.Sprintf("certificate %s of listener %s %s: %s", p.ChainFile, p.Listener, when, remedy),
		certificateFields(p)...)
}

func certificateFields(p *certificate.Pair) []logging.Field {
	return []logging.Field{
		logging.F("listener", p.Listener), logging.F("certificate", p.ChainFile), logging.F("not_after", utc(p.Served().NotAfter)),
	}
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// expiryWarnings has, by listener, the certificate of the last warning and the time of this warning.
type expiryWarnings map[string]expiryWarned

type expiryWarned struct{ notAfter, at time.Time }

// due reports whether to warn now about a certificate that ends at notAfter. The first warning is
// expiryWarning before the end, and then there is one in each expiryInterval. If the first certificate of
// a listener has already expired, there is no first warning: the method warn has logged one already.
func (e expiryWarnings) due(listener string, notAfter, now time.Time) bool {
	if notAfter.Sub(now) > expiryWarning {
		return false
	}
	last, known := e[listener]
	if last.notAfter.Equal(notAfter) && now.Sub(last.at) < expiryInterval {
		return false
	}
	e[listener] = expiryWarned{notAfter, now}
	return known || notAfter.After(now)
}
