package config

import "reflect"

// Differences returns the keys whose values differ between c and other, in the order of the reference
// file. All differences in the list of listeners are reported as one key, listeners.
func (c Config) Differences(other Config) []string {
	return differences(reflect.ValueOf(c), reflect.ValueOf(other), "")
}

func differences(a, b reflect.Value, section string) []string {
	var keys []string
	for i := range a.NumField() {
		key := join(section, a.Type().Field(i).Tag.Get("mapstructure"))
		switch {
		case a.Field(i).Kind() == reflect.Struct:
			keys = append(keys, differences(a.Field(i), b.Field(i), key)...)
		case !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
			keys = append(keys, key)
		}
	}
	return keys
}
