-- An HTTP hook of a sequence.
do $$
begin
  perform dripdrop._field(
    'hook', 'key', 'text',
    'lower-case letters, digits, `_` and `-`; none of the engine''s own variables',
    hint => 'Use lower-case letters, digits, "_" and "-", and begin with a letter or digit.',
    pattern => '^[a-z0-9][a-z0-9_-]{0,199}$', required => true
  );
  perform dripdrop._field(
    'hook', 'name', 'text',
    'the key, unless given',
    nullable => true
  );
  perform dripdrop._field(
    'hook', 'description', 'text',
    'what it is for',
    nullable => true
  );
  perform dripdrop._field(
    'hook', 'method', 'text',
    '`GET`, `POST`, `PUT`, `PATCH`, `DELETE`',
    hint => 'Use GET, POST, PUT, PATCH or DELETE.', choices => '{GET,POST,PUT,PATCH,DELETE}',
    nullable => true, preset => '"POST"'
  );
  perform dripdrop._field(
    'hook', 'url', 'url',
    'Liquid; every value in it is percent-encoded. `https` only',
    hint =>
    'For example "https://api.example.com/leads/{{ subscriber_id }}"; http:// is for localhost, '
    '127.0.0.1 and [::1], in development.',
    pattern => '^(https://[^/\s]|http://(localhost|127[.][0-9.]+|\[::1\])(:[0-9]+)?([/?#]|$))',
    maximum => 10000, required => true
  );
  perform dripdrop._field(
    'hook', 'headers', 'document',
    'as they are; none that holds a secret',
    hint => 'For example {"Accept": "application/json"}.', holds => 'headers', nullable => true,
    preset => '{}'
  );
  perform dripdrop._field(
    'hook', 'body_template', 'text',
    'Liquid; every value is escaped for the inside of a JSON string. `{{ value | json }}` writes '
    'JSON itself. No body unless given',
    nullable => true
  );
  perform dripdrop._field(
    'hook', 'auth_type', 'text',
    '`bearer`, `basic` or `header`',
    hint => 'Use none, bearer, basic or header.', choices => '{none,bearer,basic,header}',
    nullable => true, preset => '"none"'
  );
  perform dripdrop._field(
    'hook', 'response_path', 'text',
    '`score`, `data.score` or a SQL/JSON path; the whole answer unless given',
    hint => 'For example "score" or "$.data[0].id".', nullable => true
  );
  perform dripdrop._field(
    'hook', 'response_type', 'text',
    '`json`, `text`, `number`, `boolean`',
    hint => 'Use json, text, number or boolean.', choices => '{json,text,number,boolean}',
    nullable => true, preset => '"json"'
  );
  perform dripdrop._field(
    'hook', 'timeout_ms', 'integer',
    'per attempt, at most 30 000',
    hint => 'Use 1 to 30000 milliseconds per attempt.', minimum => 1, maximum => 30000,
    nullable => true, preset => '5000'
  );
  perform dripdrop._field(
    'hook', 'retry_count', 'integer',
    'attempts after the first, at most 5, within seconds',
    hint => 'Use 0 to 5 attempts after the first.', minimum => 0, maximum => 5, nullable => true,
    preset => '2'
  );
  perform dripdrop._field(
    'hook', 'retry_for', 'interval',
    'for how long it is asked again after that, at most 30 days',
    hint => 'For example "1 hour"; at most 30 days.', minimum => 0, maximum => 2592000,
    nullable => true, preset => '"1 hour"'
  );
  perform dripdrop._field(
    'hook', 'max_in_flight', 'integer',
    'calls that one worker has under way at a time',
    hint => 'Use 1 to 999 calls at a time.', minimum => 1, maximum => 999, nullable => true,
    preset => '8'
  );
  perform dripdrop._field(
    'hook', 'active', 'boolean',
    'switched off it fails closed',
    hint => 'Write true or false.', nullable => true, preset => 'true'
  );
end
$$;
