import { configs, config } from "typescript-eslint";

export default config(configs.strict, configs.stylistic, {
    languageOptions: { parserOptions: { projectService: true } },
});
