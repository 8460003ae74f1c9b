-- A step, its settings, and the ways on from it.
do $$
begin
  perform dripdrop._field(
    'step', 'key', 'key',
    'unique in the version',
    required => true
  );
  perform dripdrop._field(
    'step', 'name', 'title',
    'the key, unless given',
    maximum => 200, nullable => true
  );
  perform dripdrop._field(
    'step', 'position', 'integer',
    'its place, where steps are made one by one; in a document they follow one another',
    hint => 'Leave it out for the place after the last step.', minimum => 0, maximum => 999999999,
    nullable => true
  );
  perform dripdrop._field(
    'step', 'channel', 'text',
    'a channel of `select * from dripdrop.providers()`',
    hint => 'select * from dripdrop.channels() lists the channels, and who serves them.',
    required => true, errcode => 'ZD202'
  );
  perform dripdrop._field(
    'step', 'timing', 'document',
    'when: `"in 3 days"`, `"every monday at 9am"`, …, see [timing](#timing); at once unless '
    'given',
    holds => 'timing', preset => '{"type": "immediate"}'
  );
  perform dripdrop._field(
    'step', 'template', 'document',
    'Liquid by field, see below',
    holds => 'template', preset => '{}'
  );
  perform dripdrop._field(
    'step', 'adapter', 'text',
    'the name of a [sender](senders.md); without one the sequence''s or the default sends',
    nullable => true
  );
  perform dripdrop._field(
    'step', 'config', 'object',
    'settings, see below',
    hint => 'Pass an object, for example ''{"max_retries": 5}''.', holds => 'step.config',
    preset => '{}'
  );
  perform dripdrop._field(
    'step', 'active', 'boolean',
    '`false` skips the step',
    hint => 'Write true or false.', nullable => true, preset => 'true'
  );
  perform dripdrop._field(
    'step', 'conditions', 'list',
    '[all](#conditions) must hold when the step is due; else it is skipped',
    hint => 'Write [{"predicate": …}, …].', holds => 'condition', maximum => 100, nullable => true,
    preset => '[]',
    errcode => 'ZD208'
  );
  perform dripdrop._field(
    'step', 'transitions', 'list',
    '[where to go next](#transitions); without them to the next active step',
    hint => 'Write [{"to": "offer", "conditions": […]}, {"to": null}].', holds => 'transition',
    maximum => 100, nullable => true, preset => '[]', errcode => 'ZD206'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'step.config', 'recipient_key', 'text',
    'which field of the enrolment''s data holds the address; that of the channel unless given',
    minimum => 1, maximum => 200
  );
  perform dripdrop._field(
    'step.config', 'time_zone', 'time_zone',
    'for subscribers who have none; the sequence''s unless given'
  );
  perform dripdrop._field(
    'step.config', 'retry_for', 'duration',
    'how long what fails for the time being is tried again, from its first failure on; as '
    'long as the channel says (`channels()`) unless given',
    hint => 'an interval'
  );
  perform dripdrop._field(
    'step.config', 'max_retries', 'integer',
    'failed attempts after which the step has failed even if `retry_for` is not over',
    hint => '0 to 999', minimum => 0, maximum => 999
  );
  perform dripdrop._field(
    'step.config', 'on_max_retry', 'text',
    'the enrolment ends (`cancel`), or goes on (`continue`), when the step has failed',
    choices => '{cancel,continue}', preset => '"cancel"'
  );
  perform dripdrop._field(
    'step.config', 'on_unknown', 'text',
    'nobody knows whether it was sent: presume so (`at_most_once`), or send again '
    '(`at_least_once`)',
    choices => '{at_most_once,at_least_once}', preset => '"at_most_once"'
  );
  perform dripdrop._field(
    'step.config', 'stale_after', 'duration',
    'an interval: overdue for longer is stale; of `marketing` three days unless given, of '
    '`transactional` never',
    hint => 'an interval'
  );
  perform dripdrop._field(
    'step.config', 'on_stale', 'text',
    'what happens to a stale message: `send`, `skip`, or `hold` until `release()` or '
    '`skip_held()`; of `transactional` `send`',
    choices => '{send,skip,hold}', preset => '"hold"'
  );
  perform dripdrop._field(
    'step.config', 'daily_cap', 'integer',
    'how many of its messages may leave a day, see [limits](limits.md#rates)',
    hint => 'a count', minimum => 1, maximum => 999999999
  );
  perform dripdrop._field(
    'step.config', 'rate_limits', 'document',
    'how fast its messages may leave, see [limits](limits.md#rates)',
    hint => 'rates by scope', holds => 'rate_limits'
  );
  perform dripdrop._field(
    'step.config', 'kind', 'text',
    '`marketing`, or `transactional`: a message that somebody has to get',
    choices => '{marketing,transactional}', preset => '"marketing"'
  );
  perform dripdrop._field(
    'step.config', 'topic', 'text',
    'the key of the [topic](consent.md#topics) that one can opt out of',
    hint => 'its key', pattern => '^[a-z0-9][a-z0-9_-]{0,199}$'
  );
  perform dripdrop._field(
    'step.config', 'require_verified_recipient', 'boolean',
    'skips who has no `recipient_verified_at` in the data',
    hint => 'true, false', preset => 'false'
  );
  perform dripdrop._field(
    'step.config', 'send_window', 'document',
    'the hours in which it may leave, see [send windows](sending-windows.md); the tenant''s '
    'unless given',
    holds => 'send_window'
  );
  perform dripdrop._field(
    'step.config', 'channel_adapter_rotation', 'document',
    'the [senders](senders.md#sharing-messages-among-senders) that share its messages',
    hint => 'a list of senders', holds => 'rotation'
  );
  perform dripdrop._field(
    'step.config', 'unsubscribe', 'boolean',
    'whether it carries a [link to unsubscribe](unsubscribe.md); marketing messages do unless '
    'told otherwise, where the channel has such links',
    hint => 'true, false'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'transition', 'to', 'text',
    'the key of a step; `null` completes',
    hint => 'Write the key of a step, or null to complete.', nullable => true, required => true
  );
  perform dripdrop._field(
    'transition', 'when', 'text',
    'how many of the conditions must hold; `all` where there are some, `always` where there are '
    'none, unless given',
    hint => 'Use all, any or always.', choices => '{all,any,always}', nullable => true
  );
  perform dripdrop._field(
    'transition', 'conditions', 'list',
    'asked when the step before is over',
    hint => 'Write [{"predicate": …}, …].', holds => 'condition', maximum => 100, nullable => true,
    preset => '[]',
    errcode => 'ZD208'
  );
end
$$;
