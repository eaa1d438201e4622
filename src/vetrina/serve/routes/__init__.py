"""HTTP routes: events, ranked answers, audiences and operator actions."""
