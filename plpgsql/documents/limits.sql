-- What is not a document by itself, but the arguments of a function.
-- What holds for a whole tenant, as update_tenant_settings() takes it.
do $$
begin
  perform dripdrop._field(
    'tenant_settings', 'time_zone', 'time_zone',
    'IANA name: the zone of local times where subscriber, step and sequence name none',
    nullable => true
  );
  perform dripdrop._field(
    'tenant_settings', 'rate_limits', 'document',
    'how fast its messages may leave; senders and steps may set their own',
    holds => 'rate_limits', nullable => true
  );
  perform dripdrop._field(
    'tenant_settings', 'send_window', 'document',
    'when messages may leave where the step says nothing; `false` for always',
    holds => 'send_window', nullable => true
  );
  perform dripdrop._field(
    'tenant_settings', 'channel_send_windows', 'document',
    'the same by channel, before `send_window`',
    holds => 'channel_send_windows', nullable => true
  );
  perform dripdrop._field(
    'tenant_settings', 'thresholds', 'document',
    'the bounce and complaint rates at which its senders rest; `false` is never',
    holds => 'thresholds', nullable => true
  );
  perform dripdrop._field(
    'tenant_settings', 'retention', 'document',
    'how long things are kept, by table; what is not named is kept for ever',
    holds => 'retention', nullable => true
  );
  perform dripdrop._field(
    'tenant_settings', 'unsubscribe_url', 'text',
    'the https address at which recipients reach dripdrop web; a link is this, /u/ and a token',
    hint => 'For example "https://mail.example.com": where dripdrop web answers, without a query.',
    pattern => '^(?=.{1,200}$)https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$',
    nullable => true
  );
  perform dripdrop._field(
    'tenant_settings', 'unsubscribe_mailto', 'address',
    'an address where requests to unsubscribe are read as well',
    hint => 'For example unsubscribe@example.com.', nullable => true
  );
end
$$;

-- How much a sender may send, as set_adapter_limits() takes it.
do $$
begin
  perform dripdrop._field(
    'adapter_limits', 'daily_cap', 'integer',
    'messages per day at most; no limit unless given',
    hint => 'At most 1000000000; leave it out for no limit.', minimum => 1, maximum => 1000000000,
    nullable => true
  );
  perform dripdrop._field(
    'adapter_limits', 'ramp_floor', 'integer',
    'messages on the first day of a ramp, over which the cap grows up to `daily_cap`, if there is '
    'one',
    hint => 'At most 1000000000; leave it out for no limit.', minimum => 0, maximum => 1000000000,
    nullable => true
  );
  perform dripdrop._field(
    'adapter_limits', 'ramp_increment', 'integer',
    'messages that each further day of the ramp has more',
    hint => 'At most 1000000000; leave it out for no limit.', minimum => 1, maximum => 1000000000,
    nullable => true
  );
  perform dripdrop._field(
    'adapter_limits', 'ramp_started_at', 'time',
    'start of the ramp; now, or when it started, unless given',
    nullable => true
  );
  perform dripdrop._field(
    'adapter_limits', 'min_gap_seconds', 'integer',
    'seconds between two messages, at least',
    hint => 'At most 1000000000; leave it out for no limit.', minimum => 0, maximum => 1000000000,
    nullable => true
  );
  perform dripdrop._field(
    'adapter_limits', 'concurrency', 'integer',
    '[places](senders.md#how-many-at-once): messages that are at the provider at once, over all '
    'workers; no limit unless given',
    hint => 'At most 1000000000; leave it out for no limit.', minimum => 1, maximum => 1000000000,
    nullable => true
  );
  perform dripdrop._field(
    'adapter_limits', 'rate_limits', 'document',
    'rates by scope, see below',
    holds => 'rate_limits', nullable => true, preset => '{}'
  );
  perform dripdrop._field(
    'adapter_limits', 'time_zone', 'time_zone',
    'the zone whose days are counted; the tenant''s unless given, else UTC',
    nullable => true
  );
end
$$;

-- How much of a sender a version may use, as set_adapter_sequence_budget() takes it.
do $$
begin
  perform dripdrop._field(
    'sequence_budget', 'max_share_pct', 'integer',
    'percent of the sender''s daily cap that the version may use, at most',
    hint => 'Use 1 to 100.', minimum => 1, maximum => 100, required => true, preset => '100'
  );
  perform dripdrop._field(
    'sequence_budget', 'weight', 'integer',
    'its share of what the sender has room for, beside those of the other versions',
    hint => 'Use 1 to 1000.', minimum => 1, maximum => 1000, required => true, preset => '1'
  );
  perform dripdrop._field(
    'sequence_budget', 'daily_volume_target', 'integer',
    'until it had so many messages in a day it goes before the others',
    hint => 'Leave it out for none.', minimum => 1, nullable => true
  );
end
$$;

-- How often one person hears from us, as set_frequency_cap() takes it.
do $$
begin
  perform dripdrop._field(
    'frequency_cap', 'key', 'key',
    'its name, unique in the tenant',
    required => true
  );
  perform dripdrop._field(
    'frequency_cap', 'max_messages', 'integer',
    'so many messages at most',
    hint => 'Use 1 to 100.', minimum => 1, maximum => 100, required => true
  );
  perform dripdrop._field(
    'frequency_cap', 'per', 'interval',
    'in any window of this length, which slides; one message per interval is a minimum distance',
    hint => 'For example interval ''7 days''; 100 years at most.', required => true
  );
  perform dripdrop._field(
    'frequency_cap', 'channel', 'text',
    'only messages over this channel are counted, and wait; all of them unless given',
    nullable => true
  );
  perform dripdrop._field(
    'frequency_cap', 'topic', 'text',
    'only messages about this [topic](consent.md#topics); all of them unless given',
    nullable => true
  );
  perform dripdrop._field(
    'frequency_cap', 'kind', 'text',
    '`marketing` leaves out the steps whose `kind` is `transactional`; `all` counts them too',
    hint => 'Use marketing or all.', choices => '{marketing,all}', required => true,
    preset => '"marketing"'
  );
end
$$;
