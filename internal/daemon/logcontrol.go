package daemon

import (
	"context"
	"fmt"
	"os"

	"greetd.example/internal/config"
	"greetd.example/internal/logcontrol"
	"greetd.example/internal/logging"
)

// logControl answers systemctl service-log-level, if the unit sets GREETD_BUS_NAME.
func (d *daemon) logControl(ctx context.Context) {
	name := os.Getenv(config.EnvBusName)
	if name == "" {
		return
	}
	logcontrol.Serve(ctx, name, d.log, func(err error) {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf(
			"systemctl service-log-level does not work now: %v (%s asks for it; it needs a fixed user and a D-Bus policy)", err, config.EnvBusName))
	})
}
