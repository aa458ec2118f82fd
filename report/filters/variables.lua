--[[ Pandoc's stand-in for Quarto's shortcode {{< var group.key >}}.

Quarto resolves these itself, so this filter is named only where Pandoc renders. As in Quarto, an
unknown variable shows as ?var:group.key (h2a_lib/report/checks.py has failed before that).
]]

local function read_variables()
  local file = assert(io.open("_staged.json", "r"))
  local text = file:read("a")
  file:close()
  return pandoc.json.decode(text, false).variables
end

local variables = read_variables()

local function value(name)
  local group, key = name:match("^([%w_]+)%.([%w_]+)$")
  local found = group and variables[group] and variables[group][key]
  return found or ("?var:" .. name)
end

-- In text a shortcode is five inlines: "({{<" space "var" space "study.n_total" space ">}})".
local function shortcodes(inlines)
  local out = pandoc.Inlines({})
  local i = 1
  while i <= #inlines do
    local open = inlines[i].t == "Str" and inlines[i].text:match("^(.*){{<$")
    local close = i + 6 <= #inlines
      and inlines[i + 6].t == "Str"
      and inlines[i + 6].text:match("^>}}(.*)$")
    if open and close and inlines[i + 2].t == "Str" and inlines[i + 2].text == "var" then
      if open ~= "" then
        out:insert(pandoc.Str(open))
      end
      out:extend(pandoc.Inlines(value(pandoc.utils.stringify(inlines[i + 4]))))
      -- What follows may open the next one: ">}}/{{<".
      inlines[i + 6] = pandoc.Str(close)
      i = i + 6
    else
      out:insert(inlines[i])
      i = i + 1
    end
  end
  return out
end

local function in_code(code)
  code.text = code.text:gsub("{{<%s*var%s+([%w_.]+)%s*>}}", value)
  return code
end

return { { Inlines = shortcodes, Code = in_code, CodeBlock = in_code } }
